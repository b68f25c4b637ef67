"""Nodes of Ray as the manifests start them, each in a network namespace: a pod's address and ports.

A bridge joins the namespaces; 10.77.N.1 is this machine's end of it. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy import manifests


@dataclass(frozen=True)
class Network:
    """A bridge and its addresses.

    Attributes:
        name: the bridge's name.
        prefix: the first three numbers of its addresses.
    """

    name: str
    prefix: str


def missing() -> str | None:
    """Return what keeps nodes from being started here, or None."""
    if os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    try:
        import aiohttp_cors  # noqa: F401
        import ray  # noqa: F401
    except ImportError:
        return "the nodes' agents need ray[default] (pip install 'hornbeam[cluster]')"
    name = f"hb{uuid.uuid4().hex[:8]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "this machine allows no network namespaces"
    _ip("netns", "delete", name)
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Node:
    """One pod: a namespace, an address, and the process that a container begins with.

    Args:
        number: the address's last part.
        network: the bridge.
        folder: the pod's /tmp.
        variables: the container's environment.
    """

    def __init__(
        self, number: int, network: Network, folder: Path, variables: dict[str, str]
    ) -> None:
        self.address = f"{network.prefix}.{number}"
        self.name = f"{network.name}n{number}"
        self.folder = folder
        folder.mkdir()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        root = str(manifests.ROOT / "python")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "HORNBEAM_"))}
        self.environment = {**kept, "PATH": path, "PYTHONPATH": root, "TMPDIR": str(folder)}
        self.environment |= variables
        self.process: subprocess.Popen | None = None
        self._log = folder / "ray-start.log"
        _ip("netns", "add", self.name)
        _ip(
            "link",
            "add",
            f"{self.name}v",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.name,
        )
        _ip("link", "set", f"{self.name}v", "master", network.name, "up")
        for command in (
            ["addr", "add", f"{self.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
            ["route", "add", "default", "via", f"{network.prefix}.1"],
        ):
            _ip("-n", self.name, *command)

    def command(self, *arguments: str) -> list[str]:
        """Return a command line that runs something in the pod."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run something in the pod to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, params: dict[str, str], head: str | None, cpus: int) -> None:
        """Begin the container's process, as KubeRay composes it from a group's parameters.

        Args:
            params: the group's `rayStartParams`.
            head: the head's address; None for the head itself.
            cpus: what KubeRay takes from the container's limit.
        """
        flags = {"num-cpus": str(cpus), **params, "block": ""}
        flags |= {"head": ""} if head is None else {"address": f"{head}:6379"}
        given = [f"--{k}={v}" if v else f"--{k}" for k, v in flags.items()]
        given.append(f"--temp-dir={self.folder}/ray")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self.command("ray", "start", *given),
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        """Return what the container's process has printed."""
        return self._log.read_text()

    def healthy(self) -> bool:
        """Tell whether the probe of the manifests succeeds, which sends no token."""
        code = "import urllib.request as u; u.urlopen('http://{}:52365/api/healthz', timeout=5)"
        return self.run(sys.executable, "-c", code.format(self.address)).returncode == 0

    def listening(self) -> set[int]:
        """Return the TCP ports that others can reach."""
        shown = self.run("ss", "--no-header", "--tcp", "--listening", "--numeric").stdout
        locals_ = [line.split()[3] for line in shown.splitlines()]
        return {
            int(a.rsplit(":", 1)[1]) for a in locals_ if "127.0.0.1" not in a and "[::1]" not in a
        }

    def processes(self) -> list[int]:
        """Return the processes in the pod."""
        shown = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(pid) for pid in shown.stdout.split()]

    def kill(self) -> None:
        """End every process of the pod at once, as a machine that loses its power does."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def remove(self) -> None:
        """End the pod and its namespace."""
        self.kill()
        _ip("netns", "delete", self.name)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Inside the block, there is a bridge with addresses that nobody else on the machine has."""
    taken = subprocess.run(["ip", "-4", "addr"], capture_output=True, text=True).stdout
    free = [n for n in range(256) if f" 10.77.{n}." not in taken]
    made = Network(f"hb{uuid.uuid4().hex[:6]}", f"10.77.{random.choice(free)}")
    _ip("link", "add", made.name, "type", "bridge")
    try:
        _ip("addr", "add", f"{made.prefix}.1/24", "dev", made.name)
        _ip("link", "set", made.name, "up")
        yield made
    finally:
        _ip("link", "delete", made.name)


def wait_until(done, seconds: float = 90) -> bool:
    """Return whether something has come true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.5)
    return False
