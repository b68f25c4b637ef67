"""Hosts as network namespaces: an address, a link that can be cut, processes that can be killed.

A bridge joins them; this machine's end of it has the address that ends in 1. Needs root and
iproute2.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


def missing() -> str | None:
    """Return what keeps namespaces from being made here, or None."""
    if os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"hb{uuid.uuid4().hex[:8]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "this machine allows no network namespaces"
    ip("netns", "delete", name)
    return None


def ip(*arguments: str) -> None:
    """Run iproute2's command."""
    subprocess.run(["ip", *arguments], check=True)


@dataclass(frozen=True)
class Network:
    """A bridge.

    Attributes:
        name: its name.
        prefix: the first three parts of all addresses.
    """

    name: str
    prefix: str


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Inside the block, there is a bridge; several tests may run at once."""
    number = uuid.uuid4().bytes
    net = Network(f"hb{number.hex()[:6]}", f"10.{64 + number[0] % 64}.{number[1]}")
    ip("link", "add", net.name, "type", "bridge")
    try:
        ip("addr", "add", f"{net.prefix}.1/24", "dev", net.name)
        ip("link", "set", net.name, "up")
        yield net
    finally:
        ip("link", "delete", net.name)


class Namespace:
    """A host.

    Args:
        number: the address's last part.
        net: the network.
        folder: where its commands run.
        environment: their environment.
    """

    def __init__(
        self, number: int, net: Network, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.address = f"{net.prefix}.{number}"
        self.name = f"{net.name}n{number}"
        self.folder = folder
        self.environment = dict(environment)
        self._outside = f"{self.name}v"
        ip("netns", "add", self.name)
        pair = ["type", "veth", "peer", "name", "eth0", "netns", self.name]
        ip("link", "add", self._outside, *pair)
        ip("link", "set", self._outside, "master", net.name, "up")
        for command in (
            ["addr", "add", f"{self.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
            ["route", "add", "default", "via", f"{net.prefix}.1"],
        ):
            ip("-n", self.name, *command)

    def command(self, *arguments: str) -> list[str]:
        """Return a command line that runs something on the host."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run something on the host to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def popen(self, *arguments: str, **options) -> subprocess.Popen:
        """Start something on the host."""
        return subprocess.Popen(
            self.command(*arguments), env=self.environment, cwd=self.folder, **options
        )

    def cut(self) -> None:
        """Take the host's link down: what is sent to it and by it is lost without a word."""
        ip("link", "set", self._outside, "down")

    def mend(self) -> None:
        """Take the link up again."""
        ip("link", "set", self._outside, "up")

    def processes(self) -> list[int]:
        """Return the processes on the host."""
        shown = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(pid) for pid in shown.stdout.split()]

    def kill(self) -> None:
        """End every process of the host at once, as a machine that loses its power does."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """End the host."""
        self.kill()
        ip("netns", "delete", self.name)


def wait_until(done, seconds: float = 90, pause: float = 0.5) -> bool:
    """Return whether something has come true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(pause)
    return False
