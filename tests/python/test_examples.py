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
