"""Time the workloads under hornbeam and its peers, in turns, and print a table.

    python tests/bench/run.py [--only mlp,mnist_cnn] [--peers all] [--repeats 3] [--quick]

Every number comes from a process of its own. The frameworks take turns (A B C A B C ...), so that a
slow minute of the machine falls on all of them, and the median over the repeats is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from workloads import FRAMEWORKS, WORKLOADS  # noqa: E402

PEERS = [name for name in FRAMEWORKS if name != "hornbeam"]
FIELDS = ("fit", "predict", "step_ms", "import_s", "first_step_s", "peak_mib")


def environment(threads: int) -> dict[str, str]:
    """The variables by which each framework is told its number of threads."""
    count = str(threads)
    names = ("OMP", "MKL", "OPENBLAS", "HORNBEAM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
    limits = {f"{n}_THREADS" if n.startswith("TF") else f"{n}_NUM_THREADS": count for n in names}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return os.environ | limits | quiet | {"NPROC": count}  # NPROC is XLA's


def cores(threads: int) -> set[int]:
    """The cores that a measurement may run on: as many as it has threads."""
    return set(sorted(os.sched_getaffinity(0))[:threads])


def measure(python: str, workload: str, framework: str, args: argparse.Namespace) -> dict | None:
    command = [python, str(HERE / "measure.py"), workload, framework]
    command += ["--threads", str(args.threads)] + (["--quick"] if args.quick else [])
    done = subprocess.run(
        command,
        env=environment(args.threads),
        capture_output=True,
        text=True,
        timeout=args.timeout,
        preexec_fn=lambda: os.sched_setaffinity(0, cores(args.threads)),
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        print(f"{workload} under {framework} failed: {lines[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def medians(results: list[dict]) -> dict:
    return results[0] | {
        field: statistics.median(result[field] for result in results) for field in FIELDS
    }


def table(rows: list[dict]) -> str:
    """The rows as text: one line a workload and framework, ratios to the best peer."""
    head = ("workload", "framework", "fit/s", "x", "predict/s", "x", "step ms", "first s", "MiB")
    lines = [head]
    for workload in dict.fromkeys(row["workload"] for row in rows):
        group = [row for row in rows if row["workload"] == workload]
        best = {
            field: max((r[field] for r in group if r["framework"] != "hornbeam"), default=None)
            for field in ("fit", "predict")
        }
        for row in group:
            ratio = {f: f"{row[f] / b:.2f}" if b else "" for f, b in best.items()}
            lines.append(
                (
                    workload,
                    row["framework"],
                    f"{row['fit']:,.0f}",
                    ratio["fit"],
                    f"{row['predict']:,.0f}",
                    ratio["predict"],
                    f"{row['step_ms']:.3g}",
                    f"{row['first_step_s']:.2f}",
                    f"{row['peak_mib']:.0f}",
                )
            )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, comma-separated")
    parser.add_argument("--peers", default="", help="peers, comma-separated, or all")
    parser.add_argument("--peers-python", default=sys.executable, help="the peers' interpreter")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each number")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=2)
    parser.add_argument("--quick", action="store_true", help="a quarter of the steps")
    parser.add_argument("--without-hornbeam", action="store_true", help="the peers alone")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one process")
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"))
    args = parser.parse_args()
    args.only = args.only.split(",")
    args.peers = PEERS if args.peers == "all" else [p for p in args.peers.split(",") if p]
    for given, known in ((args.only, WORKLOADS), (args.peers, PEERS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return args


def main() -> None:
    args = arguments()
    frameworks = ([] if args.without_hornbeam else ["hornbeam"]) + args.peers
    rows = []
    for workload in args.only:
        results: dict[str, list[dict]] = {name: [] for name in frameworks}
        for _ in range(args.repeats):
            for framework in frameworks:
                python = sys.executable if framework == "hornbeam" else args.peers_python
                result = measure(python, workload, framework, args)
                if result is not None:
                    results[framework].append(result)
        rows += [medians(found) for found in results.values() if found]
        print(f"{workload} done", file=sys.stderr)
    print(table(rows))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "processor": processor(),
        "threads": args.threads,
        "repeats": args.repeats,
        "quick": args.quick,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load": os.getloadavg(),
        "rows": rows,
    }
    args.out.write_text(json.dumps(about, indent=1) + "\n")
    print(f"\n{about['processor']}, {args.threads} threads; as JSON in {args.out}")
    if not rows:
        sys.exit(1)


if __name__ == "__main__":
    main()
