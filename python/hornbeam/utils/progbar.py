"""The progress bar of Keras 2, to the character."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from typing import Any


class Progbar:
    """Show how far a loop has come, with running averages of its quantities.

    Attributes:
        seen_so_far: the position that the last call of `update` or `add` gave.
        sum_values: name -> [weighted sum, weight] behind each average.
        unique_values: the names, in the order in which they are shown.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 30,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
    ) -> None:
        """Prepare a bar; nothing is written before the first `update`.

        Args:
            target: the position at the end; None when it is not known.
            width: characters in the bar.
            verbose: 1 redraws a bar, 2 writes one line at the end, 0 writes nothing.
            interval: seconds that must pass between two redraws, unless one is forced.
            stateful_metrics: names of quantities to show as they are given, not averaged.
        """
        # Keras marks an unknown end by -1, which callers may have taken over.
        self.target = None if target is None or target < 0 else int(target)
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.stateful_metrics = set(stateful_metrics or ())
        self.sum_values: dict[str, Any] = {}
        self.unique_values: list[str] = []
        self.start = time.time()
        self.last_update = 0.0
        self.total_width = 0
        self.seen_so_far = 0

    def update(
        self,
        current: int,
        values: Iterable[tuple[str, Any]] | None = None,
        force: bool = False,
    ) -> None:
        """Move to `current` and redraw if it is time.

        Args:
            current: the new position.
            values: `(name, value)` pairs; each value counts for the distance moved.
            force: redraw whatever the interval says.
        """
        self._accumulate(current, values or ())
        self.seen_so_far = current
        now = time.time()
        if self.verbose == 1:
            if not force and now - self.last_update < self.interval:
                return
            self._redraw(current, now)
        elif self.verbose == 2 and self._finished(current):
            sys.stdout.write(f"{int(now - self.start)}s{self._averages()}\n")
            sys.stdout.flush()
        self.last_update = now

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Move forward by `n`; see `update`."""
        self.update(self.seen_so_far + n, values)

    def _accumulate(self, current: int, values: Iterable[tuple[str, Any]]) -> None:
        moved = current - self.seen_so_far
        for name, value in values:
            if name not in self.sum_values:
                self.unique_values.append(name)
                self.sum_values[name] = [0.0, 0]
            if name in self.stateful_metrics:
                self.sum_values[name] = [value, 1]
            else:
                entry = self.sum_values[name]
                entry[0] += value * moved
                entry[1] += moved

    def _finished(self, current: int) -> bool:
        return self.target is not None and current >= self.target

    def _redraw(self, current: int, now: float) -> None:
        elapsed = now - self.start
        bar = self._bar(current)
        if self.target is not None and current < self.target:
            eta = elapsed / current * (self.target - current) if current else 0
            info = f" - ETA: {int(eta)}s"
        else:
            info = f" - {int(elapsed)}s"
        line = bar + info + self._averages()
        erased = self.total_width
        self.total_width = len(line)
        # Padding wipes what is left of a longer line before it.
        padding = " " * max(0, erased - len(line))
        end = "\n" if self._finished(current) else ""
        sys.stdout.write("\b" * erased + "\r" + line + padding + end)
        sys.stdout.flush()

    def _bar(self, current: int) -> str:
        if self.target is None:
            return f"{current:7d}/Unknown"
        digits = int(math.log10(self.target)) + 1 if self.target > 0 else 1
        done = self.width
        if self.target > 0:
            done = min(self.width, int(self.width * (current / self.target)))
        head = ""
        if done > 0:
            head = "=" * (done - 1) + ("=" if self._finished(current) else ">")
        return f"{current:{digits}d}/{self.target:{digits}d} [{head}{'.' * (self.width - done)}]"

    def _averages(self) -> str:
        return "".join(
            f" - {name}: {format_value(total / max(1, weight))}"
            for name, (total, weight) in ((n, self.sum_values[n]) for n in self.unique_values)
        )


def format_value(value: Any) -> str:
    """Write a number as the progress bar does: four decimals, or scientific when it is tiny."""
    number = float(value)
    return f"{number:.4f}" if abs(number) > 1e-3 else f"{number:.4e}"
