"""What a run is told, by its command line or its environment."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a run does besides what its script says.

    Attributes:
        script: the script's path.
        arguments: the script's own arguments.
        workers: the least and the most workers; None trains in this process.
        cpus_per_worker: CPUs, and threads, of each worker.
        address: the Ray cluster's address; None is RAY_ADDRESS, or a cluster started here.
        checkpoint: folder (any fsspec address) to save checkpoints in and resume from, or None.
        save_every: steps between two checkpoints; None saves after each epoch.
        output: file (any fsspec address) for the whole model once the script is done, or None.
        start_seconds: seconds to wait for enough workers, at the start and after losses.
        drain_seconds: seconds that a SIGTERM leaves for the checkpoint before the process exits.
        metrics: whether metrics go to Ray's exporter for Prometheus.
    """

    script: str
    arguments: tuple[str, ...] = ()
    workers: tuple[int, int] | None = None
    cpus_per_worker: int = 1
    address: str | None = None
    checkpoint: str | None = None
    save_every: int | None = None
    output: str | None = None
    start_seconds: float = 60.0
    drain_seconds: float = 25.0
    metrics: bool = True


def parse_workers(text: str) -> tuple[int, int] | None:
    """Return the least and the most workers that `4` or `2-8` asks for; `0` is none.

    Raises:
        ValueError: when it is neither.
    """
    numbers = [int(part) if part.isdecimal() else -1 for part in text.strip().split("-")]
    if numbers == [0]:
        return None
    least, most = numbers[0], numbers[-1]
    if len(numbers) > 2 or not 0 < least <= most:
        raise ValueError(f"{text!r}: expected a number as 4, or the least and the most as 2-8")
    return (least, most)


class _Variable(str):
    """A value from the environment, which says where it is from when it makes no sense."""

    name: str

    def __new__(cls, name: str, value: str) -> _Variable:
        """Take the variable's name and value."""
        self = super().__new__(cls, value)
        self.name = name
        return self


def _refuse(text: str, what: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{getattr(text, 'name', '')} {what}".strip())


def _workers(text: str) -> tuple[int, int] | None:
    try:
        return parse_workers(text)
    except ValueError as error:
        raise _refuse(text, str(error)) from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise _refuse(text, f"{text!r} is no positive whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _refuse(text, f"{text!r} is no positive number of seconds")
    return seconds


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Return the settings of a run; the command line wins over the environment.

    Args:
        argv: the arguments after `python -m hornbeam.run`.
        environ: the environment.

    Raises:
        SystemExit: with status 2 and a message when something makes no sense.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hornbeam.run",
        usage="python -m hornbeam.run [options] script.py [arguments]",
        description="Run a training script: on the workers of a Ray cluster, with checkpoints that "
        "it resumes from, and with the finished model as a file.",
        epilog="Each option can be given by the environment variable in brackets instead. "
        "The status is 0 when the script is done and the model is in its place, 143 after SIGTERM, "
        "2 for options that make no sense, and otherwise the script's own or 1.",
    )

    def option(flag: str, variable: str, metavar: str, text: str, **kwargs: object) -> None:
        # argparse converts a default that is a string as it does an argument.
        default = kwargs.pop("default", None)
        given = environ.get(variable, "").strip()
        kwargs.setdefault("type", str)
        parser.add_argument(
            flag,
            metavar=metavar,
            default=_Variable(variable, given) if given else default,
            help=f"{text} [{variable}]" + (f", by default {default}" if default else ""),
            **kwargs,  # type: ignore[arg-type]
        )

    option(
        "--workers",
        "HORNBEAM_WORKERS",
        "N",
        "workers: a number as 4, or 2-8 for between 2 and 8; without it, or with 0, the script "
        "trains in one process",
        type=_workers,
    )
    option(
        "--cpus-per-worker",
        "HORNBEAM_CPUS_PER_WORKER",
        "N",
        "CPUs, and threads, of each worker",
        type=_positive,
        default="1",
    )
    option(
        "--address",
        "RAY_ADDRESS",
        "HOST:PORT",
        "the Ray cluster, or auto for the one on this machine; without it, one is started here",
    )
    option(
        "--checkpoint",
        "HORNBEAM_CHECKPOINT",
        "FOLDER",
        "where checkpoints are kept and resumed from: a folder, or a store's address as "
        "s3://bucket/run",
    )
    option(
        "--save-every",
        "HORNBEAM_SAVE_EVERY",
        "STEPS",
        "steps between two checkpoints; without it, there is one after each epoch",
        type=_positive,
    )
    option(
        "--output",
        "HORNBEAM_OUTPUT",
        "FILE",
        "where the finished model goes, whole: a path or a store's address",
    )
    option(
        "--start-seconds",
        "HORNBEAM_START_SECONDS",
        "S",
        "how long to wait for enough workers, at the start and after losses",
        type=_seconds,
        default="60",
    )
    option(
        "--drain-seconds",
        "HORNBEAM_DRAIN_SECONDS",
        "S",
        "how long a SIGTERM leaves for the checkpoint before the process exits",
        type=_seconds,
        default="25",
    )
    parser.add_argument("--no-metrics", action="store_true", help="send no metrics to Ray")
    parser.add_argument("script", metavar="script.py", help="the script, an ordinary one for Keras")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own ones")
    rest.required = False
    given = parser.parse_args(argv)
    return Settings(
        script=given.script,
        arguments=tuple(given.arguments),
        workers=given.workers,
        cpus_per_worker=given.cpus_per_worker,
        address=given.address,
        checkpoint=given.checkpoint,
        save_every=given.save_every,
        output=given.output,
        start_seconds=given.start_seconds,
        drain_seconds=given.drain_seconds,
        metrics=not given.no_metrics,
    )
