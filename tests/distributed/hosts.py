"""Ray nodes on hosts of their own, each a network namespace, and drivers on them."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import namespaces

import hornbeam

TESTS = Path(__file__).resolve().parent.parent


def missing():
    """Return what keeps hosts from being made here, or None."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return "Ray is not installed"
    return namespaces.missing()


class Host(namespaces.Namespace):
    """A host that runs a Ray node."""

    def __init__(self, number, net, folder):
        folder.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "HORNBEAM_"))}
        paths = [str(TESTS), str(Path(hornbeam.__file__).parent.parent)]
        own = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(paths),
            "TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONWARNINGS": "ignore",
            # Some of Ray's commands turn the token on by themselves and others do not.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        }
        super().__init__(number, net, folder, kept | own)

    def start(self, head=None, cpus=1):
        """Start the node, which joins the head's cluster or is the head."""
        self.head = head or self
        where = ["--head", "--port=6379", "--include-dashboard=false"]
        if head is not None:
            where = [f"--address={head.address}:6379"]
        arguments = [*where, f"--node-ip-address={self.address}", f"--num-cpus={cpus}"]
        if head is None:
            arguments.append(f"--temp-dir={self.folder}/ray")
        memory = ["--object-store-memory=100000000", "--disable-usage-stats"]
        started = self.run("ray", "start", *arguments, *memory)
        assert started.returncode == 0, started.stdout + started.stderr

    def drive(self, result, **options):
        """Start a driver here."""
        given = ["--address", f"{self.head.address}:6379", "--node", self.address]
        for name, value in options.items():
            values = value if isinstance(value, (tuple, list)) else [value]
            given += [f"--{name.replace('_', '-')}", *map(str, values)]
        return Driver(self, ["--result", str(result), *given])


class Driver:
    """A driver's process and what it says."""

    def __init__(self, host, arguments):
        self.host, self.lines, self.times, self.members = host, [], [], {}
        command = [sys.executable, "-m", "distributed.driver", *arguments]
        with (host.folder / "driver.log").open("w") as log:
            self.process = host.popen(*command, stdout=subprocess.PIPE, stderr=log, text=True)
        # A driver that hangs ends here.
        self.timer = threading.Timer(150, self.process.kill)
        self.timer.daemon = True
        self.timer.start()

    def hear(self):
        """Return the next line, split; None at the end."""
        line = self.process.stdout.readline().split(maxsplit=1)
        if not line:
            self.close()
            return None
        self.lines.append(" ".join(line))
        if line[0] == "at":
            epoch, seen, now = line[1].split()
            self.times.append((float(now), int(epoch), int(seen)))
        if line[0] == "members":
            self.members = json.loads(line[1])
        return line

    def until(self, epoch, samples=0):
        """Wait until it has trained so far."""
        while self.hear() is not None:
            if self.times and self.times[-1][1:] >= (epoch, samples):
                return
        raise AssertionError(self.log())

    def until_said(self, word):
        """Wait until it says something, and return the rest of that line."""
        while (line := self.hear()) is not None:
            if line[0] == word:
                return line[1]
        raise AssertionError(self.log())

    def finish(self):
        """Wait for its end; return the generations that the workers formed."""
        events = json.loads(self.until_said("events"))
        assert self.process.wait() == 0, self.log()
        self.close()
        return events

    def log(self):
        """Return what it has printed."""
        return "\n".join(self.lines[-20:]) + (self.host.folder / "driver.log").read_text()[-4000:]

    def gap_after(self, moment):
        """Return the seconds from a moment to the end of the longest stand-still behind it."""
        progress, last = [moment], None
        for now, *place in self.times:
            if now > moment and place != last:
                progress.append(now)
            last = place
        gaps = [(b - a, b) for a, b in zip(progress, progress[1:], strict=False)]
        return max(gaps)[1] - moment

    def close(self):
        """End it."""
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def cluster(count, cpus=1):
    """Inside the block there are hosts with a Ray node each, the first of them the head."""
    # Ray's sockets have names of at most 107 characters, so pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="hb") as base, namespaces.network() as net:
        hosts = [Host(10 + n, net, Path(base) / f"h{n}") for n in range(count)]
        try:
            hosts[0].start(cpus=cpus)
            for host in hosts[1:]:
                host.start(hosts[0], cpus)
            yield hosts
        finally:
            for host in hosts:
                host.remove()
