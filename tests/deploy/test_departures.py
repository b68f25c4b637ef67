"""A worker whose machine goes: when the driver makes a checkpoint for it, and lets it go."""

from __future__ import annotations

import types

import numpy as np
import pytest

from hornbeam.callbacks import Callback, LambdaCallback
from hornbeam.engine import loop
from hornbeam.layers import Dense
from hornbeam.models import Sequential
from hornbeam.run import backups


class Crew:
    """Workers of which one is about to go from the k-th question on."""

    def __init__(self, question):
        self.left, self.gone = question, []

    def departing(self):
        self.left -= 1
        return [types.SimpleNamespace(name="7")] if self.left < 0 and not self.gone else []

    def let_go(self, members):
        self.gone += [m.name for m in members]


@pytest.fixture
def crew(monkeypatch):
    made = Crew(3)
    strategy = backups.get_strategy()
    monkeypatch.setattr(strategy, "crew", made, raising=False)
    # The loop reports as often as it can.
    monkeypatch.setattr(loop, "INTERVAL", 0.0)
    return made


def fit(callbacks):
    x = np.random.RandomState(3).normal(size=(64, 5)).astype("float32")
    model = Sequential([Dense(4, input_shape=(5,)), Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, callbacks=callbacks)


def test_a_checkpoint_within_an_epoch(crew, tmp_path, capsys):
    kept = tmp_path / "fit-0" / "fit.backup"
    seen = []
    watch = LambdaCallback(
        on_batch_begin=lambda batch, logs: seen.append((kept.exists(), *crew.gone))
    )
    fit([watch, backups.Backups(str(tmp_path), 1000).next(backups.Departures())])
    assert seen[:4] == [(False,)] * 4 and seen[4] == (True, "7")
    assert crew.gone == ["7"]
    assert "worker 7 is about to go; letting it go with a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("save_every", [None, 1000])
def test_a_checkpoint_within_an_epoch_that_runs_at_once(crew, tmp_path, capsys, save_every):
    kept = tmp_path / "fit-0" / "fit.backup"
    seen = []

    class Watch(Callback):
        def progress(self, samples, values):
            seen.append((kept.exists(), *crew.gone))

    fit([Watch(), backups.Backups(str(tmp_path), save_every).next(backups.Departures())])
    assert seen[:4] == [(False,)] * 4 and seen[4] == (True, "7")
    assert crew.gone == ["7"]
    assert "letting it go with a checkpoint" in capsys.readouterr().err


def test_the_checkpoint_of_the_epoch(crew, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop, "INTERVAL", 1000.0)
    crew.left = 0
    fit([backups.Backups(str(tmp_path), None).next(backups.Departures())])
    assert crew.gone == ["7"]
    assert "letting it go with the epoch's checkpoint" in capsys.readouterr().err


def test_none_without_checkpoints(crew, capsys):
    fit([backups.Leave(backups.Departures())])
    assert crew.gone == ["7"]
    assert "without a checkpoint, since the run makes none" in capsys.readouterr().err


def test_a_checkpoint_that_fails_lets_nobody_go(crew, tmp_path, monkeypatch):
    kept = backups.Backups(str(tmp_path), 1000)
    (tmp_path / "fit-0").touch()
    with pytest.raises(backups.RunError, match="could not be saved"):
        fit([kept.next(backups.Departures())])
    assert crew.gone == []
