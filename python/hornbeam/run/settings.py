"""What a run is told, by its command line or its environment."""

from __future__ import annotations

import argparse
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
        raise ValueError(
            f"workers={text!r}: expected a number as 4, or the least and the most as 2-8"
        )
    return (least, most)


def _workers(text: str) -> tuple[int, int] | None:
    try:
        return parse_workers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


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
        description="Run a training script on a Ray cluster.",
        epilog="Each option can be given by the environment variable named with it.",
    )

    def option(flag: str, variable: str, text: str, **kwargs: object) -> None:
        # argparse converts a default that is a string as it does an argument.
        default = kwargs.pop("default", None)
        given = environ.get(variable) or default
        parser.add_argument(flag, default=given, help=f"{text} ({variable})", **kwargs)  # type: ignore[arg-type]

    option("--workers", "HORNBEAM_WORKERS", "workers: 4, or 2-8 for elastic", type=_workers)
    option(
        "--cpus-per-worker",
        "HORNBEAM_CPUS_PER_WORKER",
        "CPUs, and threads, of each worker",
        type=_positive,
        default="1",
    )
    option("--address", "RAY_ADDRESS", "the Ray cluster's address")
    option("--checkpoint", "HORNBEAM_CHECKPOINT", "folder for checkpoints, resumed from")
    option(
        "--save-every",
        "HORNBEAM_SAVE_EVERY",
        "steps between checkpoints; without it, each epoch is saved",
        type=_positive,
    )
    option("--output", "HORNBEAM_OUTPUT", "file for the finished model")
    option(
        "--drain-seconds",
        "HORNBEAM_DRAIN_SECONDS",
        "seconds between SIGTERM and the end",
        type=float,
        default="25",
    )
    parser.add_argument("--no-metrics", action="store_true", help="send no metrics to Ray")
    parser.add_argument("script", help="the script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own arguments")
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
        drain_seconds=given.drain_seconds,
        metrics=not given.no_metrics,
    )
