"""Strangers at the sockets of a whole training: refused, logged, and the training undisturbed."""

import hashlib
import hmac
import os
import signal
import socket
import struct
import time

import pytest
from distributed.launching import Job, finish, train

pytestmark = pytest.mark.slow
SHARDS = 4
OPENING, IDENTITY, PROOF = 40, 280, 32


def dial(address, source="127.0.0.1"):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))


def hello():
    return b"HBhi" + struct.pack("<HH", 1, 0) + os.urandom(32)


def answer(stranger, count):
    """Return what comes from the other side, up to its end or so many bytes."""
    got = b""
    while len(got) < count:
        try:
            more = stranger.recv(count - len(got))
        except ConnectionResetError:
            break
        if not more:
            break
        got += more
    return got


class Stranger:
    """Somebody who opens a connection and says something."""

    def __init__(self, address, kind):
        self.kind, self.socket = kind, dial(address)
        self.said = hello()
        words = {
            "nothing": b"",
            "garbage": os.urandom(5000),
            "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(200),
            "half a greeting": self.said[:17],
            "no proof": self.said,
            "a wrong token": self.said,
            "an empty token": self.said,
            # A pickled object that would run a command.
            "a pickle": b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00exit\x85R." + bytes(200),
        }
        self.socket.sendall(words[kind])

    def prove(self):
        """Go on where a real worker would: with a proof made of another token."""
        if self.kind not in ("a wrong token", "an empty token"):
            return
        challenge = answer(self.socket, OPENING)
        if len(challenge) < OPENING:
            return
        identity = struct.pack("<HHIQ", 0, 0, 0, 1) + bytes(IDENTITY - 16)
        token = b"guess" if self.kind == "a wrong token" else b""
        mac = hmac.new(token, b"hornbeam collective dialer", hashlib.sha256)
        mac.update(self.said + challenge + identity)
        self.socket.sendall(identity + mac.digest())

    def is_refused(self):
        """Tell whether the other side has hung up, without having proved itself."""
        self.socket.settimeout(20)
        return len(answer(self.socket, IDENTITY + PROOF)) < IDENTITY + PROOF


KINDS = [
    "nothing",
    "garbage",
    "another protocol",
    "half a greeting",
    "no proof",
    "a wrong token",
    "an empty token",
    "a pickle",
]


def test_strangers_are_refused_and_logged_and_disturb_nobody(tmp_path):
    expected, _ = train(tmp_path, "mlp", 1)
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, _ = job.launch(wait_at=4), job.launch()
        # Some knock before the group is formed and some in the midst of the training.
        early = [Stranger(w.address, kind) for kind in KINDS for w in job.workers]
        job.begin(job.workers)
        for stranger in early:
            stranger.prove()
        for worker in job.workers:
            assert worker.hear() == {"formed": 1}
        assert first.hear() == {"at": 4}
        late = [Stranger(w.address, kind) for kind in KINDS for w in job.workers]
        for worker in job.workers:
            worker.say(change=True)
        first.say(go=True)
        for worker in job.workers:
            assert worker.hear()["failed"] == 1
        job.begin(job.workers)
        for stranger in late:
            stranger.prove()
        for worker in job.workers:
            assert worker.hear() == {"formed": 2}
        assert finish(job.workers) == expected
        for worker in job.workers:
            worker.close()
        refused = [s.is_refused() for s in (*early, *late)]
        for stranger in (*early, *late):
            stranger.socket.close()
        assert all(refused), refused
        log = "".join(worker.log.read_text() for worker in job.workers)
    for words in ("it does not speak this protocol", "refused the connection from 127.0.0.1"):
        assert words in log, log


def test_a_worker_with_another_token_is_refused(tmp_path):
    expected, _ = train(tmp_path, "mlp", 1)
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, second, third = (job.launch() for _ in range(3))
        stranger = job.launch(token="another")
        # The group waits for one of its members, and hears the stranger meanwhile.
        third.signal(signal.SIGSTOP)
        job.begin([first, second, third])
        members = [(stranger.address, 0, 1), (first.address, 1, 2), (second.address, 2, 4)]
        stranger.say(rank=0, generation=1, members=members)
        # By then it has been hung up on so often that it knows why.
        with pytest.raises(EOFError, match="token"):
            stranger.hear()
        third.signal(signal.SIGCONT)
        for worker in (first, second, third):
            assert worker.hear() == {"formed": 1}
        assert finish([first, second, third]) == expected
        for worker in (first, second):
            assert "it could not prove that it knows the token" in worker.log.read_text()


def listening(pid):
    """Return the local addresses at which a process listens, from /proc."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for name, size in (("tcp", 8), ("tcp6", 32)):
        with open(f"/proc/{pid}/net/{name}") as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    host, port = fields[1].split(":")
                    assert len(host) == size
                    raw = bytes.fromhex(host)
                    words = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
                    family = socket.AF_INET if size == 8 else socket.AF_INET6
                    found.append((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


def test_a_worker_listens_at_its_own_address_alone(tmp_path):
    with Job(tmp_path, "mlp", SHARDS) as job:
        worker = job.launch(wait_at=2)
        before = listening(worker.process.pid)
        job.form([worker])
        assert worker.hear() == {"at": 2}
        host, port = worker.address.rsplit(":", 1)
        assert before == listening(worker.process.pid) == [(host, int(port))]
        worker.say(go=True)
        worker.hear()


def test_a_listener_wants_an_address_and_a_token():
    from hornbeam import backend as K

    for address in ("0.0.0.0", "::"):
        with pytest.raises(ValueError, match="bind to the node's own"):
            K.Listener(address, (0, 0), b"token")
    with pytest.raises(ValueError, match="anybody could join"):
        K.Listener("127.0.0.1", (0, 0), b"")


def test_a_flood_of_strangers_keeps_nobody_out(tmp_path):
    """More connections than the listener keeps guests, none of which says a word."""
    expected, _ = train(tmp_path, "mlp", 1)
    with Job(tmp_path, "mlp", SHARDS) as job:
        workers = [job.launch() for _ in range(2)]
        flood = [dial(workers[1].address) for _ in range(400)]
        time.sleep(0.1)
        job.form(workers)
        assert finish(workers) == expected
    for stranger in flood:
        stranger.close()
