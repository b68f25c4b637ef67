"""Nodes of Ray as the manifests start them, each in a network namespace: a pod's address and ports.

Needs root and iproute2.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import namespaces
from namespaces import Namespace, Network

from deploy import manifests


def missing() -> str | None:
    """Return what keeps nodes from being started here, or None."""
    try:
        import aiohttp_cors  # noqa: F401
        import ray  # noqa: F401
    except ImportError:
        return "the nodes' agents need ray[default] (pip install 'hornbeam[cluster]')"
    return namespaces.missing()


class Node(Namespace):
    """One pod: a namespace, an address, and the process that a container begins with.

    Args:
        number: the address's last part.
        network: the bridge's name.
        folder: the pod's /tmp.
        variables: the container's environment.
    """

    def __init__(
        self, number: int, network: Network, folder: Path, variables: dict[str, str]
    ) -> None:
        folder.mkdir()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        root = str(manifests.ROOT / "python")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "HORNBEAM_"))}
        environment = {**kept, "PATH": path, "PYTHONPATH": root, "TMPDIR": str(folder)}
        super().__init__(number, network, folder, environment | variables)
        self.process: subprocess.Popen | None = None
        self._log = folder / "ray-start.log"

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
            self.process = self.popen(
                "ray", "start", *given, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
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

    def kill(self) -> None:
        """End every process of the pod at once, as a machine that loses its power does."""
        super().kill()
        if self.process is not None:
            self.process.wait()
