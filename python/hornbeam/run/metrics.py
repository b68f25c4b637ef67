"""A run's metrics, through Ray's exporter to Prometheus.

Ray puts `ray_` before each name. deploy/grafana/hornbeam.json shows them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from ..callbacks import Callback
from ..engine.strategy import get_strategy

# Seconds between two looks at the workers, which cost a remote call.
_PERIOD = 5.0


class _Now:
    """What is counted. It is no plain value, so that a checkpoint leaves it out."""

    def __init__(self) -> None:
        self.gauges: dict[str, Any] = {}
        self.counters: dict[str, Any] = {}
        self.seen = 0
        self.steps = 0
        self.window = (0.0, 0)
        self.looked = 0.0
        self.lost = 0
        # Where every batch is reported: samples since the epoch began here, and their losses' sum.
        self.reported = (0, 0.0)


class Metrics(Callback):
    """Reports steps, samples a second, the loss, and what the workers have been through.

    Outside of Ray it does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = _Now()
        self._position: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the metrics, in the Ray cluster that the run has joined."""
        ray = sys.modules.get("ray")
        if self._now.gauges or ray is None or not ray.is_initialized():
            return
        from ray.util.metrics import Counter, Gauge

        for name, text in (
            ("samples_per_second", "Samples trained on in a second."),
            ("loss", "The loss: the epoch's mean so far."),
            ("epoch", "The epoch, counted from 0."),
            ("generation", "How often the workers have formed a group."),
            ("workers", "Workers in the present group."),
            ("allreduce_seconds", "Seconds that a worker waited for others, in this generation."),
        ):
            self._now.gauges[name] = Gauge(f"hornbeam_{name}", description=text)
        for name, text in (
            ("steps", "Training steps done."),
            ("samples", "Samples trained on."),
            ("lost_workers", "Workers lost."),
        ):
            self._now.counters[name] = Counter(f"hornbeam_{name}", description=text)

    def set_position(self, position: Any) -> None:
        """Take what tells where the run stands."""
        self._position = position

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin to count the epoch's samples."""
        # An epoch that is resumed: what was done of it before is not this run's.
        done = self._position.batch if self._position is not None else 0
        self._now.seen, self._now.steps = done * (self.params.get("batch_size") or 1), done
        self._now.window = (time.monotonic(), self._now.seen)
        self._now.reported = (0, 0.0)
        self._set("epoch", epoch)

    def uses_batch_hooks(self) -> bool:
        """Ask for no batch hooks: without them, the loop reports by `progress`."""
        return False

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Report how far the epoch is, where another callback needs every batch."""
        logs, batch_size = logs or {}, self.params.get("batch_size")
        samples, losses = self._now.reported
        size = int(logs.get("size", 0))
        samples, losses = samples + size, losses + size * float(logs.get("loss", 0.0))
        self._now.reported = (samples, losses)
        mean = {"loss": losses / samples} if "loss" in logs and samples else {}
        self.progress(batch * batch_size + size if batch_size else batch + 1, mean)

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Report how far the epoch is: samples (or steps, in a stream) and means so far."""
        now, (began, before) = time.monotonic(), self._now.window
        self._count(seen, self.params.get("batch_size"))
        if now - began > 1.0:
            samples = (seen - before) * (1 if self.params.get("batch_size") else 0)
            if samples:
                self._set("samples_per_second", samples / (now - began))
            self._now.window = (now, seen)
        if "loss" in values:
            self._set("loss", float(values["loss"]))
        if now - self._now.looked > _PERIOD:
            self._now.looked = now
            self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the whole epoch."""
        batch_size = self.params.get("batch_size")
        total = self.params.get("samples") if batch_size else self.params.get("steps")
        if total:
            self._count(int(total), batch_size)
            began, before = self._now.window
            if batch_size and int(total) > before:
                spent = max(time.monotonic() - began, 1e-9)
                self._set("samples_per_second", (int(total) - before) / spent)
        if logs and "loss" in logs:
            self._set("loss", float(logs["loss"]))
        self._look()

    def _count(self, seen: int, batch_size: int | None) -> None:
        if not self._now.counters or seen <= self._now.seen:
            return
        steps = -(-seen // batch_size) if batch_size else seen
        if batch_size:
            self._now.counters["samples"].inc(seen - self._now.seen)
        if steps > self._now.steps:
            self._now.counters["steps"].inc(steps - self._now.steps)
        self._now.seen, self._now.steps = seen, steps

    def _set(self, name: str, value: float) -> None:
        if self._now.gauges:
            self._now.gauges[name].set(value)

    def _look(self) -> None:
        """Ask the strategy for its workers' state, where it has workers."""
        crew = getattr(get_strategy(), "crew", None)
        if crew is None or not self._now.gauges:
            return
        events = crew.generations()
        if not events:
            return
        self._set("generation", events[-1]["generation"])
        self._set("workers", len(events[-1]["members"]))
        lost = sum(len(event["lost"]) for event in events)
        if lost > self._now.lost:
            self._now.counters["lost_workers"].inc(lost - self._now.lost)
            self._now.lost = lost
        waits = [worker["blocked"] for worker in crew.describe() if "blocked" in worker]
        if waits:
            self._set("allreduce_seconds", max(waits))
