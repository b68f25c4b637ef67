"""Starting `python -m hornbeam.run` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hornbeam as keras


def environment(**variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HORNBEAM_", "RAY_"))}
    root = str(Path(keras.__file__).resolve().parents[1])
    return {**kept, "PYTHONPATH": root, **variables}


def start(arguments, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "hornbeam.run", *map(str, arguments)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(arguments, **variables):
    process = start(arguments, **variables)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def weights(path):
    return [w.tobytes() for w in keras.models.load_model(str(path)).get_weights()]


def read_until(process, line):
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"the run ended without {line!r}: {process.stderr.read()}")
