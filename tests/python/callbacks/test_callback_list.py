"""The list of callbacks, the loggers, and the equality of both ways of driving them."""

import time
import warnings

import pytest

from hornbeam import callbacks
from hornbeam.utils.logs import Logs

PARAMS = {
    "epochs": 2,
    "steps": None,
    "samples": 10,
    "batch_size": 4,
    "verbose": 1,
    "do_validation": True,
    "metrics": ["loss", "acc", "val_loss", "val_acc"],
}
BATCHES = [(4, 2.0, 0.25), (4, 1.0, 0.5), (2, 0.5, 1.0)]  # size, loss, accuracy


class Recorder(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("train begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} begin")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} end")
        self.logs = dict(logs)

    def on_train_end(self, logs=None):
        self.calls.append("train end")


class BatchRecorder(Recorder):
    def on_batch_begin(self, batch, logs=None):
        self.calls.append(f"batch {batch} begin {logs['size']}")

    def on_batch_end(self, batch, logs=None):
        self.calls.append(f"batch {batch} end {logs['loss']}")


def drive(extra, by_batches, params=PARAMS, means_in_logs=True):
    """Run two epochs the way a training loop does; return the history."""
    history = callbacks.History()
    group = callbacks.CallbackList(
        [callbacks.BaseLogger(), callbacks.ProgbarLogger(), *extra, history]
    )
    group.set_params(params)
    group.set_model(object())
    group.on_train_begin()
    for epoch in range(params["epochs"]):
        group.on_epoch_begin(epoch)
        seen, sums = 0, [0.0, 0.0]
        for batch, (size, loss, acc) in enumerate(BATCHES):
            if by_batches:
                group.on_batch_begin(batch, {"batch": batch, "size": size})
            seen += size
            sums = [sums[0] + size * loss, sums[1] + size * acc]
            means = {"loss": sums[0] / seen, "acc": sums[1] / seen}
            if by_batches:
                logs = {"batch": batch, "size": size, "loss": loss, "acc": acc}
                group.on_batch_end(batch, logs)
            else:
                group.progress(seen, means)
        logs = Logs(means if means_in_logs else {})
        logs.update(val_loss=3.0, val_acc=0.125)
        group.on_epoch_end(epoch, logs)
    group.on_train_end()
    return history


@pytest.fixture
def frozen(monkeypatch):
    """A clock on which each look is a second later, so that every redraw happens."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_both_ways_of_driving_show_and_record_the_same(frozen, capsys, verbose):
    params = {**PARAMS, "verbose": verbose}
    first = drive([], by_batches=False, params=params)
    shown = capsys.readouterr().out
    second = drive([], by_batches=True, params=params)
    assert capsys.readouterr().out == shown
    assert first.history == second.history
    assert first.epoch == [0, 1]
    assert first.history["loss"] == [pytest.approx(1.3)] * 2
    assert bool(shown) is bool(verbose)


def test_the_last_line_shows_what_the_history_records(frozen, capsys):
    drive([], by_batches=True, params={**PARAMS, "verbose": 2})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2"
    assert lines[1].split(" - ", 1)[1] == (
        "loss: 1.3000 - acc: 0.5000 - val_loss: 3.0000 - val_acc: 0.1250"
    )


def test_base_logger_averages_where_the_loop_did_not():
    recorder = Recorder()
    history = drive([recorder], True, {**PARAMS, "verbose": 0}, means_in_logs=False)
    assert history.history["loss"] == [pytest.approx(1.3)] * 2
    assert history.history["acc"] == [pytest.approx(0.5)] * 2
    assert recorder.logs["loss"] == pytest.approx(1.3)


def test_base_logger_leaves_the_loops_means_alone():
    group = callbacks.CallbackList([callbacks.BaseLogger()])
    group.set_params(PARAMS)
    group.on_epoch_begin(0)
    group.on_batch_end(0, {"size": 4, "loss": 8.0})
    logs = Logs(loss=2.0)
    group.on_epoch_end(0, logs)
    assert logs == {"loss": 2.0}


def test_progress_in_steps(frozen, capsys):
    params = {**PARAMS, "steps": 3, "epochs": 1}
    logger = callbacks.ProgbarLogger("steps")
    logger.set_params(params)
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    logger.on_batch_end(0, {"size": 4, "loss": 2.0})
    assert "1/3 [=========>" in capsys.readouterr().out
    with pytest.raises(ValueError, match="batches"):
        callbacks.ProgbarLogger("batches")


def test_progress_of_unknown_length(frozen, capsys):
    params = {**PARAMS, "samples": None, "epochs": 1, "metrics": ["loss"]}
    logger = callbacks.ProgbarLogger()
    logger.set_params(params)
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    logger.progress(4, {"loss": 2.0})
    assert "      4/Unknown - 1s - loss: 2.0000" in capsys.readouterr().out
    logger.on_epoch_end(0, {"loss": 1.0})
    out = capsys.readouterr().out
    assert "4/4 [==============================] - 2s - loss: 1.0000" in out and out[-1] == "\n"


def test_an_epoch_that_a_callback_ends_early_keeps_its_place(frozen, capsys):
    logger = callbacks.ProgbarLogger()
    logger.set_params(PARAMS)
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    logger.on_batch_end(0, {"size": 4, "loss": 2.0})
    logger.on_epoch_end(0, {"loss": 2.0})
    out = capsys.readouterr().out
    assert out.endswith("\n") and " 4/10 [===========>" in out and "10/10" not in out


def test_the_order_of_calls():
    recorder = BatchRecorder()
    drive([recorder], by_batches=True, params={**PARAMS, "verbose": 0, "epochs": 1})
    assert recorder.calls == [
        "train begin",
        "epoch 0 begin",
        "batch 0 begin 4",
        "batch 0 end 2.0",
        "batch 1 begin 4",
        "batch 1 end 1.0",
        "batch 2 begin 2",
        "batch 2 end 0.5",
        "epoch 0 end",
        "train end",
    ]


class LaterNames(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.last = batch


class ByHand:
    """No subclass of Callback, as Keras 1 examples have them."""

    def set_params(self, params):
        pass

    def set_model(self, model):
        pass

    def nothing(self, *args):
        pass

    on_train_begin = on_train_end = on_epoch_begin = on_epoch_end = nothing
    on_batch_begin = on_batch_end = nothing


class LoudBar(callbacks.ProgbarLogger):
    def on_batch_end(self, batch, logs=None):
        super().on_batch_end(batch, logs)


def passed_over():
    return [
        callbacks.BaseLogger(),
        callbacks.ProgbarLogger(),
        callbacks.History(),
        callbacks.EarlyStopping(),
        callbacks.ReduceLROnPlateau(),
        callbacks.ModelCheckpoint("a.h5"),
        callbacks.CSVLogger("a.csv"),
        callbacks.LearningRateScheduler(lambda epoch: 0.1),
        callbacks.RemoteMonitor(),
        callbacks.TerminateOnNaN(),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        Recorder(),
    ]


def test_what_needs_no_batch_hooks():
    assert not callbacks.CallbackList(passed_over()).needs_batch_hooks()


@pytest.mark.parametrize(
    "needy",
    [
        BatchRecorder(),
        LaterNames(),
        ByHand(),
        LoudBar(),
        callbacks.LambdaCallback(on_batch_begin=lambda batch, logs: None),
        callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None),
        callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_what_needs_batch_hooks(needy):
    assert callbacks.CallbackList([*passed_over(), needy]).needs_batch_hooks()


def test_later_names_of_the_hooks_and_plain_objects_are_called():
    later = LaterNames()
    group = callbacks.CallbackList([later, ByHand()])
    group.on_epoch_begin(0)
    group.on_batch_end(7, {"loss": 1.0})
    group.on_test_begin()
    group.on_predict_end()
    assert later.last == 7


def test_lambda_callback_calls_its_functions():
    calls = []
    callback = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: calls.append(("epoch", epoch)),
        on_batch_end=lambda batch, logs: calls.append(("batch", batch)),
        on_train_end=lambda logs: calls.append("end"),
        note="kept",
    )
    group = callbacks.CallbackList([callback])
    group.on_train_begin()
    group.on_epoch_begin(3)
    group.on_batch_begin(0)
    group.on_batch_end(0)
    group.on_epoch_end(3)
    group.on_train_end()
    assert calls == [("epoch", 3), ("batch", 0), "end"]
    assert callback.note == "kept"


def test_what_one_callback_adds_the_next_ones_and_the_caller_find():
    class Adds(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = 0.75

    recorder = Recorder()
    group = callbacks.CallbackList([Adds(), recorder])
    plain = {"acc": 0.5}
    group.on_epoch_end(0, plain)
    assert recorder.logs == {"acc": 0.5, "score": 0.75} == plain


def test_callbacks_find_a_quantity_under_either_name():
    found = {}

    def look(epoch, logs):
        found.update(new=logs["val_accuracy"], old=logs.get("val_acc"), names=list(logs))

    group = callbacks.CallbackList([callbacks.LambdaCallback(on_epoch_end=look)])
    group.on_epoch_end(0, {"val_acc": 0.5})
    assert found == {"new": 0.5, "old": 0.5, "names": ["val_acc"]}


def test_a_slow_callback_is_warned_about(monkeypatch):
    clock = iter([0.0, 0.0, 0.01, 5.01])
    group = callbacks.CallbackList([Recorder()])
    group.on_epoch_begin(0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group.on_batch_begin(0)
    with pytest.warns(UserWarning, match="on_batch_end.. is slow") as caught:
        group.on_batch_end(0)
    assert caught[0].filename == __file__


def test_list_protocol():
    first, second = Recorder(), Recorder()
    group = callbacks.CallbackList([first])
    group.append(second)
    assert list(group) == [first, second] and len(group) == 2
