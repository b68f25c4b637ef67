"""Connections between workers that break on command: a relay of bytes between two of them."""

import contextlib
import socket
import struct
import threading
import time

CHUNK = 1 << 16


class Link:
    """Listens where a worker is dialed and passes on what both sides say, up to a certain byte.

    Args:
        target: the address, as 'ip:port', of the worker that is dialed.
        at: what happens when so many bytes have come from one side.
        act: called once then: `corrupt`, `cut`, `hold`, or a function.
        backwards: whether the bytes of the side that is dialed count, instead of the dialing one's.
        seconds: how long `hold` holds them.
    """

    def __init__(self, target, at=None, act=None, backwards=False, seconds=0.4):
        self.target = self._split(target)
        self.at, self.act, self.backwards, self.seconds = at, act, backwards, seconds
        self.passed = [0, 0]
        self.happened = threading.Event()
        self.is_cut = False
        self._sockets = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    @staticmethod
    def _split(address):
        host, port = address.rsplit(":", 1)
        return host, int(port)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        for s in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self.target)
                self._sockets += [near, far]
                for pair, backwards in (((near, far), False), ((far, near), True)):
                    for s in pair:
                        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(
                        target=self._pass_on, args=(*pair, backwards), daemon=True
                    ).start()

    def _pass_on(self, source, sink, backwards):
        with contextlib.suppress(OSError):
            while True:
                data = bytearray(source.recv(CHUNK))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                before = self.passed[backwards]
                self.passed[backwards] += len(data)
                due = self.at is not None and before <= self.at < before + len(data)
                if due and backwards == self.backwards and not self.happened.is_set():
                    self._happen(data, self.at - before, sink)
                elif not self.is_cut:
                    sink.sendall(data)

    def _happen(self, data, place, sink):
        if self.act == "corrupt":
            data[place] ^= 0x10
        elif self.act == "cut":
            self.is_cut = True
        elif self.act == "hold":
            time.sleep(self.seconds)
        else:
            sink.sendall(data[:place])
            self.act()
            data = data[place:]
        self.happened.set()
        if not self.is_cut:
            sink.sendall(data)

    def reset(self):
        """End both connections at once, as a machine on the way that forgets them."""
        for s in self._sockets:
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
