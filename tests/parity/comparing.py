"""Reading the golden files, and the one tolerance that the parity tests share."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent / "golden"

#: Error allowed to float32 against a float64 reference, relative to the largest element: a few
#: dozen roundings (2**-24 each) for one evaluation, ten times that after many training steps.
TOLERANCE = 4e-6


@functools.cache
def _group(name: str) -> dict[str, dict[str, np.ndarray]]:
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(GOLDEN / f"{name}.npz") as file:
        for key, value in file.items():
            case, _, item = key.partition("/")
            cases.setdefault(case, {})[item] = value
    return cases


def golden(group: str, case: str) -> dict[str, np.ndarray]:
    """The arrays of one case."""
    return _group(group)[case]


def numbered(arrays: dict[str, np.ndarray], prefix: str, suffix: str = "") -> list[np.ndarray]:
    """The arrays PREFIX0SUFFIX, PREFIX1SUFFIX and so on."""
    found = []
    while (key := f"{prefix}{len(found)}{suffix}") in arrays:
        found.append(arrays[key])
    return found


def assert_close(actual, expected, what: str, steps: int = 1) -> None:
    """Compare within TOLERANCE, after `steps` training steps."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    error = float(np.abs(actual.astype("float64") - expected).max(initial=0.0))
    allowed = TOLERANCE * scale * (1 if steps <= 1 else 10)
    assert error <= allowed, f"{what}: off by {error:.2e}, more than {allowed:.2e}"


def assert_weights(model, arrays: dict[str, np.ndarray], step: int, prefix: str = "") -> None:
    """Compare a model's or layer's weights with those kept after `step` steps."""
    expected = numbered(arrays, f"{prefix}w", f"@{step}")
    actual = model.get_weights()
    assert len(actual) == len(expected) > 0
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_close(a, e, f"weight {i} after {step} steps", step)
