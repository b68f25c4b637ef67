"""An S3-compatible server on this machine, and a way to it that breaks when a test says so."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def server() -> Iterator[int]:
    """Inside the block, a server listens on the port that is yielded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


class Way:
    """Passes connections on to a server, until the n-th upload of some object, which it cuts.

    Args:
        port: the server's.
        name: what the object's address ends with.
        uploads: which of its uploads is cut.
        cut: called once half of that upload has been passed on.
    """

    def __init__(self, port: int, name: str, uploads: int, cut: Callable[[], None]) -> None:
        self._server, self._name, self._left, self._cut = port, name.encode(), uploads, cut
        self._lock = threading.Lock()
        self.has_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for work in (
                    lambda c=client, s=server: self._upload(c, s),
                    lambda c=client, s=server: _copy(s, c),
                ):
                    threading.Thread(target=work, daemon=True).start()

    def _is_the_one(self, data: bytes) -> bool:
        line = data.split(b"\r\n", 1)[0]
        with self._lock:
            if line.startswith(b"PUT ") and self._name in line:
                self._left -= 1
                return self._left == 0
        return False

    def _upload(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._is_the_one(data):
                    head, _, body = data.partition(b"\r\n\r\n")
                    server.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])
                    self.has_cut = True
                    self._cut()
                    break
                server.sendall(data)
        _end(client, server)

    def close(self) -> None:
        """Pass on no more connections."""
        self._listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _end(source, target)


def _end(*sockets: socket.socket) -> None:
    for s in sockets:
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_RDWR)
        s.close()
