"""The example programs run without a warning, and learn what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hornbeam

EXAMPLES = Path(__file__).parents[2] / "examples"
# What the programs share, and the main job, which has a test of its own.
NOT_RUN = {"synthetic.py", "digits.py"}
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in NOT_RUN)


def run(path, folder):
    """Run a program, which must succeed, and return its output."""
    package = str(Path(hornbeam.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", path],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_example(name):
    run(name, EXAMPLES)


@pytest.mark.slow
def test_the_main_job(tmp_path):
    """The program itself compares the bits of the predictions before saving and after loading."""
    import h5py
    from PIL import Image

    out = run(str(EXAMPLES / "digits.py"), tmp_path)
    # Keras' bar, with the validation at its end.
    last = out.split("Epoch 20/20")[1].replace("\b", "")
    number = r"\d+\.\d{4}"
    bar = rf"6465/6465 \[={{30}}\] - \d+s - loss: {number} - acc: {number} - val_loss: {number}"
    assert re.search(bar, last), last
    accuracy = float(re.search(r"test accuracy ([\d.]+)% on 360 digits", out).group(1))
    assert accuracy >= 98.5
    rows = re.findall(r"^ {4}\d {11}((?: +[\d.]+){10})$", out, re.M)
    table = [[int(n.replace(".", "0")) for n in row.split()] for row in rows]
    assert len(table) == 10 and sum(map(sum, table)) == 360
    assert sum(table[i][i] for i in range(10)) == round(3.6 * accuracy)
    with h5py.File(tmp_path / "out" / "digits.h5") as f:
        assert len(f.attrs["layer_names"]) == 8
    with Image.open(tmp_path / "out" / "digits.png") as image:
        assert image.size == (1560, 480)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 100


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
