"""Whether the cluster's head is there.

Without it Ray starts and replaces nothing, and ends drivers and workers after about a minute. The
training itself does not need it: that minute is for a checkpoint.
"""

from __future__ import annotations

import socket
import threading
import time

# Seconds between two looks, and for one of them.
_PERIOD = 1.0
_ANSWER = 2.0
# Seconds of silence after which the head counts as lost.
_SILENCE = 4.0


class HeadWatch:
    """Looks after the head in a thread of its own; nothing is sent and nothing is read.

    Args:
        address: where the head's control service listens, as 'ip:port'.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port))
        self._heard = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="head", daemon=True).start()

    def answers(self) -> bool:
        """Look now."""
        try:
            socket.create_connection(self._place, timeout=_ANSWER).close()
        except OSError:
            return False
        self._heard = time.monotonic()
        return True

    @property
    def is_lost(self) -> bool:
        """Whether it has not answered for a while."""
        return time.monotonic() - self._heard > _SILENCE

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD):
            self.answers()
