"""Drawing the inputs of golden files and writing their results, for any reference."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from parity.cases import CHECKPOINTS
from parity.layer_case import LayerCase

GOLDEN = Path(__file__).resolve().parent / "golden"
LAYER_RATE = 0.1
Arrays = dict[str, np.ndarray]


def draw(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Normal numbers that float32 holds exactly, so that both sides start from the same bits."""
    return (rng.normal(size=shape) * scale).astype("float32").astype("float64")


def seed_of(name: str) -> np.random.Generator:
    """A generator that depends on the case's name alone: adding a case changes no other."""
    return np.random.default_rng(list(name.encode()))


def read(group: str) -> dict[str, Arrays]:
    """What the group's file has so far."""
    path = GOLDEN / f"{group}.npz"
    kept: dict[str, Arrays] = {}
    if path.exists():
        with np.load(path) as file:
            for key, value in file.items():
                case, _, item = key.partition("/")
                kept.setdefault(case, {})[item] = value
    return kept


def save(group: str, arrays: dict[str, Arrays]) -> None:
    flat = {
        f"{case}/{key}": np.asarray(
            value, "float32" if np.asarray(value).dtype.kind == "f" else None
        )
        for case, items in arrays.items()
        for key, value in items.items()
    }
    for key, value in flat.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{group}: {key} is not finite")
    GOLDEN.mkdir(exist_ok=True)
    path = GOLDEN / f"{group}.npz"
    np.savez_compressed(path, **flat)
    print(f"{path.name}: {len(arrays)} cases, {path.stat().st_size / 1024:.0f} KiB", flush=True)


def save_layers(
    group: str, chosen: list[LayerCase], compute: Callable[[LayerCase], Arrays], only: list[str]
) -> None:
    """Compute the cases of a group and write its file.

    Args:
        group: the file's name.
        chosen: its cases.
        compute: gives the arrays of one.
        only: names of the cases to compute anew; the others are computed where the file lacks them.
            Without any, all are.
    """
    kept = read(group) if only else {}
    arrays = {case.name: kept[case.name] for case in chosen if case.name in kept}
    left = [case for case in chosen if case.name not in arrays or case.name in only]
    failed = []
    for i, case in enumerate(left, 1):
        try:
            arrays[case.name] = compute(case)
        except Exception:
            traceback.print_exc()
            failed.append(case.name)
        if i % 10 == 0:
            save(group, arrays)
    save(group, {case.name: arrays[case.name] for case in chosen if case.name in arrays})
    if failed:
        raise SystemExit(f"{group}: no results for {', '.join(failed)}")


def keep_checkpoints(
    arrays: Arrays,
    prefix: str,
    weights: list[np.ndarray],
    step: Callable[[list, int], list],
    kept: int | None = None,
) -> None:
    """Run `step` from `weights` and keep the first `kept` of them after each of CHECKPOINTS."""
    for i in range(1, CHECKPOINTS[-1] + 1):
        weights = step(weights, i - 1)
        if i in CHECKPOINTS:
            arrays |= {f"{prefix}w{j}@{i}": np.asarray(w) for j, w in enumerate(weights[:kept])}


def draw_inputs(rng: np.random.Generator, case: LayerCase) -> list[np.ndarray]:
    """The case's inputs; where one is masked, about a third of its steps are zero."""
    shapes = [(case.batch, *s) for s in case.shapes]
    if case.vocabulary is not None:
        return [rng.integers(0, case.vocabulary, s, dtype="int32") for s in shapes]
    xs = [draw(rng, s) for s in shapes]
    for x, masked in zip(xs, case.masked, strict=False):
        if masked:
            hidden = rng.random(x.shape[:2]) < 0.3
            # The first steps, the last ones, and none.
            hidden[:3] = False
            hidden[0, 0], hidden[1, -2:] = True, True
            x[hidden] = 0.0
    if case.layer == "Masking" and "mask_value" in case.config:
        xs[0][0, :2], xs[0][1, -1] = case.config["mask_value"], case.config["mask_value"]
    return xs


def draw_weight(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a weight: factors around one, variances greater than zero."""
    value = draw(rng, shape, 0.4)
    if "gamma" in name:
        value = (1.0 + value).astype("float32").astype("float64")
    if "moving_variance" in name:
        value = (0.5 + np.abs(value)).astype("float32").astype("float64")
    return value
