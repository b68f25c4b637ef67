"""Import time, size and dependencies of the installed package.

python tests/bench/footprint.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path

CLOCK = "import time; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"


def import_seconds(modules: str, repeats: int) -> float:
    """Median seconds that a fresh interpreter takes to import `modules`."""
    command = [sys.executable, "-c", CLOCK.format(modules)]
    times = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    ]
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    spec = importlib.util.find_spec("hornbeam")
    if spec is None or spec.origin is None:
        raise SystemExit("hornbeam is not installed here")
    package = Path(spec.origin).parent
    extension = sum(path.stat().st_size for path in package.glob("_core*.so"))
    python = sum(path.stat().st_size for path in package.rglob("*.py"))
    required = [r for r in importlib.metadata.requires("hornbeam") or [] if "extra ==" not in r]
    bare = import_seconds("hornbeam", repeats)
    whole = import_seconds("hornbeam, hornbeam.models, hornbeam.layers", repeats)
    below = import_seconds("numpy, h5py", repeats)
    print(f"import hornbeam          {bare:.3f} s")
    print(f"with layers and models   {whole:.3f} s (numpy and h5py alone: {below:.3f} s)")
    print(f"extension                {extension / 1e6:.2f} MB")
    print(f"Python sources           {python / 1e6:.2f} MB")
    print(f"dependencies             {len(required)}: {', '.join(required)}")


if __name__ == "__main__":
    main()
