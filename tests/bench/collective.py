"""Prints hornbeam's all-reduce, a plain TCP exchange and torch's gloo side by side.

Two processes, this machine. hornbeam is measured twice: in memory that the two read directly, as
workers on one machine train, and over TCP, as between machines. Builds ``hornbeam-rank`` in release
mode; gloo is measured with the Python given by ``--peer`` (default: this one) if that has torch. On
a shared machine the peers take turns for some rounds, and each keeps its best round.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lines(*command: str) -> list[list[str]]:
    """Runs a command in the repository; returns its comma-separated lines, none if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return []
    return [line.split(",") for line in done.stdout.split() if "," in line]


def main() -> None:
    """Measures and prints the table; exits with 1 if gloo is faster than TCP at some size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    build = ("cargo", "build", "--quiet", "--release", "-p", "hornbeam-collective")
    subprocess.run(build, cwd=ROOT, check=True)
    own: dict[int, list[float]] = {}
    gloo: dict[int, list[float]] = {}
    formation = ""
    for _ in range(arguments.rounds):
        for name, *row in lines("target/release/hornbeam-rank", "bench", "--csv"):
            if name == "regroup":
                formation = f"three ranks regroup in {float(row[1]):.2f} ms"
            else:
                keep_best(own, int(name), row)
        for name, *row in lines(arguments.peer, "tests/bench/collective_gloo.py", "1"):
            keep_best(gloo, int(name), row)
    print("microseconds, best and median batch of the best round, P = 2")
    names = ["in memory", "over TCP", "plain copy", "gloo"]
    print(f"{'':>10}" + "".join(f"{name:>22}" for name in names) + f"{'gloo to':>20}")
    print(f"{'bytes':>10}" + f"{'best':>12}{'median':>10}" * 4 + f"{'memory':>12}{'TCP':>8}")
    slower = False
    for size, row in sorted(own.items()):
        peer = gloo.get(size)
        values = row + (peer or [])
        cells = [f"{value:{10 if at % 2 else 12}.1f}" for at, value in enumerate(values)]
        if peer:
            cells.append(f"{peer[1] / row[1]:12.2f}{peer[1] / row[3]:8.2f}")
            slower |= peer[1] < row[3]
        print(f"{size:10d}" + "".join(cells))
    print(formation)
    sys.exit(slower)


def keep_best(table: dict[int, list[float]], size: int, row: list[str]) -> None:
    """Merges a round's times into the table, the smaller of each kind."""
    times = [float(value) for value in row]
    table[size] = [min(pair) for pair in zip(times, table.get(size, times), strict=True)]


if __name__ == "__main__":
    main()
