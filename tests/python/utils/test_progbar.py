"""The progress bar, character by character."""

import time

import pytest

from hornbeam.utils import Progbar


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_the_first_and_the_last_line(clock, capsys):
    bar = Progbar(20)
    clock[0] += 1
    bar.update(5, [("loss", 2.0), ("acc", 0.0005)])
    first = "\r 5/20 [======>.......................] - ETA: 3s - loss: 2.0000 - acc: 5.0000e-04"
    assert capsys.readouterr().out == first
    clock[0] += 1
    bar.update(20, [("loss", 1.0), ("acc", 0.5)])
    last = "20/20 [==============================] - 2s - loss: 1.2500 - acc: 0.3751"
    width = len(first) - 1
    padding = " " * (width - len(last))
    assert capsys.readouterr().out == "\b" * width + "\r" + last + padding + "\n"


def test_redraws_wait_for_the_interval(clock, capsys):
    bar = Progbar(10, interval=0.5)
    clock[0] += 1
    bar.update(1)
    capsys.readouterr()
    clock[0] += 0.4
    bar.update(2)
    assert capsys.readouterr().out == ""
    bar.update(3, force=True)
    assert " 3/10 " in capsys.readouterr().out
    clock[0] += 0.6
    bar.add(4)
    assert bar.seen_so_far == 7
    assert " 7/10 " in capsys.readouterr().out


def test_one_line_at_the_end(clock, capsys):
    bar = Progbar(4, verbose=2)
    bar.update(2, [("loss", 1.0)])
    assert capsys.readouterr().out == ""
    clock[0] += 3
    bar.update(4, [("loss", 2.0)])
    assert capsys.readouterr().out == "3s - loss: 1.5000\n"


def test_silence(clock, capsys):
    bar = Progbar(4, verbose=0)
    bar.update(4, [("loss", 2.0)])
    assert capsys.readouterr().out == ""
    assert bar.sum_values == {"loss": [8.0, 4]}


@pytest.mark.parametrize("target", [None, -1])
def test_an_unknown_end(clock, capsys, target):
    bar = Progbar(target, interval=0)
    clock[0] += 2
    bar.update(12, [("loss", 2.0)])
    assert capsys.readouterr().out == "\r     12/Unknown - 2s - loss: 2.0000"


def test_values_that_are_not_averaged(clock):
    bar = Progbar(10, stateful_metrics=["auc"])
    bar.update(2, [("auc", 0.5), ("loss", 1.0)])
    bar.update(10, [("auc", 0.75), ("loss", 2.0)])
    assert bar.sum_values["auc"] == [0.75, 1]
    assert bar.sum_values["loss"][0] / bar.sum_values["loss"][1] == pytest.approx(1.8)


@pytest.mark.parametrize("target", [0, 1, 9, 10, 999, 1000])
def test_numbers_are_as_wide_as_the_target(clock, capsys, target):
    bar = Progbar(target, width=10)
    clock[0] += 1
    bar.update(0)
    width = len(str(target))
    assert capsys.readouterr().out.startswith(f"\r{0:{width}d}/{target} [")
    bar.update(target, force=True)
    assert f"{target}/{target} [==========] - 1s" in capsys.readouterr().out
