"""Whoever does not know the token stays outside, whatever he sends, and disturbs no training."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from distributed.launching import Job, finish, train

from hornbeam import backend as K

GREETINGS = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff" * 5000,
    b"HBhi\x02\0\0\0" + bytes(32),
    b"HBhi\x02\0\0\0" + bytes(32) + b"\x5a" * 312,
    b"HBFR" + bytes(60),
    b"cos\nsystem\n(S'touch pickled'\ntR.",
]


def endpoint(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


class Strangers:
    """Connect to addresses again and again until the block is left, and keep what they can open."""

    def __init__(self, addresses):
        self.addresses, self.open, self.rounds = addresses, [], 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.disturb, daemon=True)

    def disturb(self):
        while not self.stop.is_set():
            for address in self.addresses:
                for greeting in GREETINGS:
                    try:
                        stranger = socket.create_connection(endpoint(address), timeout=5)
                        stranger.sendall(greeting)
                    except OSError:
                        continue  # Hung up on, or the listener is gone.
                    self.open.append(stranger)
            self.rounds += 1
            self.stop.wait(0.05)
            for stranger in self.open[:-50]:
                stranger.close()
            del self.open[:-50]

    def __enter__(self):
        self.thread.start()
        while not self.rounds:
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        self.stop.set()
        self.thread.join()
        for stranger in self.open:
            stranger.close()


@pytest.mark.slow
def test_strangers_do_not_disturb_a_training(tmp_path):
    """They come before the group is formed, while it trains, and while it is formed anew."""
    expected, _ = train(tmp_path, "mlp", 1)
    with Job(tmp_path, "mlp", 4) as job:
        first, second, third = job.launch(), job.launch(die_at=6), job.launch()
        with Strangers([worker.address for worker in job.workers]):
            job.form(job.workers)
            assert first.hear()["failed"] == third.hear()["failed"] == 1
            job.form([first, third])
            assert finish([first, third]) == expected
        logged = first.log.read_text()
    assert "refused the connection from 127.0.0.1" in logged
    assert "it does not speak this protocol" in logged
    assert "it could not prove that it knows the token" in logged
    assert second.process.wait() != 0 and not Path("pickled").exists()


def form_pair(tokens):
    """Form a group of two in this process; return what each gets, a group or an error."""
    listeners = [K.Listener("127.0.0.1", (0, 0), token) for token in tokens]
    members = [(x.address, rank, rank + 1) for rank, x in enumerate(listeners)]
    results = [None, None]

    def connect(rank):
        try:
            results[rank] = K.Group.connect(
                listeners[rank], "job", rank, members, timeouts={"formation": 2.0}
            )
        except K.CollectiveError as error:
            results[rank] = error

    threads = [threading.Thread(target=connect, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_wrong_token_forms_no_group():
    dialer, acceptor = form_pair([b"right", b"wrong"])
    assert isinstance(dialer, K.CollectiveError) and "token" in str(dialer)
    assert isinstance(acceptor, K.CollectiveError)
    groups = form_pair([b"right", b"right"])
    assert all(isinstance(group, K.Group) for group in groups)
    for group in groups:
        group.close()


def test_there_is_no_group_without_a_token_and_none_for_all_addresses():
    with pytest.raises(ValueError, match="token is empty"):
        K.Listener("127.0.0.1", (0, 0), b"")
    for everywhere in ("0.0.0.0", "::"):
        with pytest.raises(ValueError, match="no address that peers can dial"):
            K.Listener(everywhere, (0, 0), b"token")


LISTENING = "0A"


def listening(process):
    """Return the addresses at which a process listens, as the kernel writes them."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and (table.startswith("udp") or fields[3] == LISTENING):
                found.append(fields[1])
    for line in Path(f"/proc/{process}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and len(fields) > 7:
            found.append(fields[7])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux' /proc")
def test_a_worker_listens_at_its_own_address_alone(tmp_path):
    with Job(tmp_path, "linear", 2) as job:
        first, second = job.launch(wait_at=2), job.launch(wait_at=2)
        job.form(job.workers)
        assert first.hear() == second.hear() == {"at": 2}
        for worker in (first, second):
            port = endpoint(worker.address)[1]
            assert listening(worker.process.pid) == [f"0100007F:{port:04X}"]
        first.say(go=True)
        second.say(go=True)
        finish(job.workers)
