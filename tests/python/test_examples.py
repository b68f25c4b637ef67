"""The example programs run without a warning, and learn what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hornbeam

EXAMPLES = Path(__file__).parents[2] / "examples"
# What the programs share, and one that writes to a folder and has a target of its own in make.
NOT_RUN = {"synthetic.py", "digits.py"}
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in NOT_RUN)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_example(name):
    package = str(Path(hornbeam.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_data_of_the_examples(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import synthetic

    texts, labels = synthetic.reviews(400)
    assert 0.4 < labels.mean() < 0.6
    for text, label in zip(texts, labels, strict=True):
        score = 0
        for before, word in zip([0, *text], text, strict=False):
            said = (word in synthetic.POSITIVE) - (word in synthetic.NEGATIVE)
            score += -said if before == synthetic.NOT else said
        assert (score > 0) == label
    images, classes = synthetic.textures(100)
    assert images.shape == (100, 16, 16, 3)
    assert set(classes) == set(range(10))


def test_the_demo_compares_bits(monkeypatch, capsys):
    """What `make demo WORKERS=2` says at its end, it has found out."""
    import contextlib
    import types

    import numpy as np

    from hornbeam.layers import Dense
    from hornbeam.models import Sequential

    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import digits

    def model(last):
        made = Sequential([Dense(2, input_shape=(3,), kernel_initializer="zeros")])
        made.compile("sgd", "mse")
        made.set_weights([np.zeros((3, 2)), np.array([1.0, last], dtype="float32")])
        return made

    class Workers:
        logical_shards = 2
        closed = False

        def generations(self):
            return [{"members": ["0", "1"]}]

        def close(self):
            self.closed = True

    workers, history = Workers(), types.SimpleNamespace(history={"loss": [0.5]})
    monkeypatch.setattr(digits, "get_distribution", lambda: workers)
    monkeypatch.setattr(digits, "DataParallel", lambda *a, **k: contextlib.nullcontext())
    monkeypatch.setattr(digits, "train", lambda model, *a, **k: history)
    arguments = (np.random.get_state(), None, None)
    monkeypatch.setattr(digits, "build_model", lambda: model(2.0))
    digits.compare_with_one_worker(model(2.0), history, *arguments)
    said = capsys.readouterr().out
    assert "2 workers" in said and "bit-identical" in said and workers.closed
    with pytest.raises(SystemExit, match="other weights"):
        # The least difference that a float32 can have.
        digits.compare_with_one_worker(model(np.nextafter(np.float32(2), 3)), history, *arguments)
    other = types.SimpleNamespace(history={"loss": [0.25]})
    with pytest.raises(SystemExit, match="other weights"):
        digits.compare_with_one_worker(model(2.0), other, *arguments)
