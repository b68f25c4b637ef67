"""EarlyStopping, ReduceLROnPlateau, LearningRateScheduler and TerminateOnNaN on stand-in models."""

import numpy as np
import pytest

from hornbeam import callbacks
from hornbeam.utils.logs import Logs


class Optimizer:
    def __init__(self, lr):
        self.lr = lr


class Model:
    def __init__(self, lr=0.1):
        self.stop_training = False
        self.optimizer = Optimizer(lr)
        self.weights = [np.zeros(2)]

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def run(callback, values, monitor="val_loss", model=None, change=None):
    """Feed one value an epoch until training stops; return the model and the epochs run."""
    model = model or Model()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        if change is not None:
            change(model, epoch)
        callback.on_epoch_end(epoch, Logs({monitor: value}))
        if model.stop_training:
            break
    callback.on_train_end()
    return model, epoch + 1


@pytest.mark.parametrize(("patience", "epochs"), [(0, 2), (1, 3), (2, 4), (3, 5), (9, 6)])
def test_patience_epochs_pass_and_the_next_one_stops(patience, epochs):
    _, ran = run(callbacks.EarlyStopping(patience=patience), [1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert ran == epochs


def test_the_count_starts_anew_after_an_improvement():
    model, ran = run(callbacks.EarlyStopping(patience=1), [3.0, 4.0, 2.0, 4.0, 4.0, 0.0])
    assert ran == 5 and model.stop_training


def test_min_delta():
    assert run(callbacks.EarlyStopping(min_delta=0.1), [1.0, 0.95, 0.5])[1] == 2
    assert run(callbacks.EarlyStopping(min_delta=-0.1), [1.0, 0.95, 0.5])[1] == 2
    assert run(callbacks.EarlyStopping(min_delta=0.1), [1.0, 0.85, 0.5])[1] == 3


@pytest.mark.parametrize(
    ("monitor", "mode", "values", "epochs"),
    [
        ("val_acc", "auto", [0.1, 0.2, 0.1, 0.9], 3),
        ("val_accuracy", "auto", [0.1, 0.2, 0.1, 0.9], 3),
        ("fmeasure", "auto", [0.1, 0.2, 0.1, 0.9], 3),
        ("val_loss", "auto", [0.1, 0.2, 0.1, 0.9], 2),
        ("score", "max", [0.1, 0.2, 0.1, 0.9], 3),
        ("val_acc", "min", [0.1, 0.2, 0.1, 0.9], 2),
    ],
)
def test_direction(monitor, mode, values, epochs):
    stopper = callbacks.EarlyStopping(monitor=monitor, mode=mode)
    assert run(stopper, values, monitor=monitor)[1] == epochs


def test_an_unknown_mode_warns_and_goes_by_the_name():
    with pytest.warns(RuntimeWarning, match="upward"):
        stopper = callbacks.EarlyStopping(monitor="val_acc", mode="upward")
    assert run(stopper, [0.1, 0.2, 0.1], monitor="val_acc")[1] == 3


def test_monitoring_by_either_name():
    stopper = callbacks.EarlyStopping(monitor="val_accuracy")
    assert run(stopper, [0.9, 0.8], monitor="val_acc")[0].stop_training


def test_a_quantity_that_is_not_there_warns():
    stopper = callbacks.EarlyStopping(monitor="val_auc")
    with pytest.warns(RuntimeWarning, match="val_auc.*Available are: val_loss"):
        model, _ = run(stopper, [1.0])
    assert not model.stop_training


def test_a_stopper_can_be_used_again():
    stopper = callbacks.EarlyStopping(patience=1)
    assert run(stopper, [1.0, 2.0, 2.0])[1] == 3
    assert run(stopper, [5.0, 6.0, 6.0])[1] == 3


def test_baseline():
    assert run(callbacks.EarlyStopping(baseline=0.5), [0.6, 0.4])[1] == 1
    assert run(callbacks.EarlyStopping(baseline=0.5), [0.4, 0.3])[1] == 2


@pytest.mark.parametrize(
    ("values", "best", "keywords"),
    [
        ([3.0, 1.0, 2.0, 2.0, 2.0], 1, {"patience": 2}),  # stopped early
        ([3.0, 2.0, 1.0, 2.0], 2, {"patience": 9}),  # ran to its end
        ([3.0, 2.0, 4.0, 4.0], 1, {"patience": 3, "baseline": 0.5}),  # never under the baseline
    ],
)
def test_restore_best_weights(values, best, keywords):
    def change(model, epoch):
        model.weights[0][:] = epoch  # in place: the callback must have kept a copy

    stopper = callbacks.EarlyStopping(restore_best_weights=True, **keywords)
    model, _ = run(stopper, values, change=change)
    np.testing.assert_array_equal(model.weights[0], [best, best])


def test_what_early_stopping_prints(capsys):
    run(callbacks.EarlyStopping(verbose=1), [1.0, 2.0])
    assert capsys.readouterr().out == "Epoch 00001: early stopping\n"


def rates(callback, values, lr=1.0, monitor="val_loss"):
    model = Model(lr)
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch, value in enumerate(values):
        logs = Logs({monitor: value})
        callback.on_epoch_end(epoch, logs)
        found.append((logs["lr"], model.optimizer.lr))
    return found


def test_plateau_reduces_after_patience_and_logs_the_rate_before():
    reducer = callbacks.ReduceLROnPlateau(factor=0.5, patience=1)
    assert rates(reducer, [1.0, 1.0, 1.0, 1.0]) == [
        (1.0, 1.0),
        (1.0, 1.0),  # the first epoch without improvement passes
        (1.0, 0.5),
        (0.5, 0.25),  # the epoch of a change counts as the first of the next wait
    ]


def test_plateau_cooldown():
    reducer = callbacks.ReduceLROnPlateau(factor=0.5, patience=0, cooldown=2)
    after = [rate for _, rate in rates(reducer, [1.0] * 7)]
    assert after == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_plateau_epsilon_and_its_later_name():
    values = [1.0, 0.95, 0.9]
    for reducer in (
        callbacks.ReduceLROnPlateau(factor=0.5, patience=0, epsilon=0.2),
        callbacks.ReduceLROnPlateau(factor=0.5, patience=0, min_delta=0.2),
    ):
        assert rates(reducer, values)[-1][1] == 0.25
    assert rates(callbacks.ReduceLROnPlateau(patience=0), values)[-1][1] == 1.0


def test_plateau_stops_at_the_lowest_rate(capsys):
    reducer = callbacks.ReduceLROnPlateau(factor=0.1, patience=0, min_lr=0.05, verbose=1)
    assert [r for _, r in rates(reducer, [1.0] * 4)] == [1.0, 0.1, 0.05, 0.05]
    assert capsys.readouterr().out == (
        "\nEpoch 00001: reducing learning rate to 0.1.\n"
        "\nEpoch 00002: reducing learning rate to 0.05.\n"
    )


def test_plateau_watching_an_accuracy():
    reducer = callbacks.ReduceLROnPlateau(monitor="val_acc", factor=0.5, patience=0)
    found = rates(reducer, [0.5, 0.6, 0.6, 0.7], monitor="val_acc")
    assert [r for _, r in found] == [1.0, 1.0, 0.5, 0.5]


def test_plateau_errors():
    with pytest.raises(ValueError, match="factor=1.0"):
        callbacks.ReduceLROnPlateau(factor=1.0)
    reducer = callbacks.ReduceLROnPlateau(monitor="val_auc")
    with pytest.warns(RuntimeWarning, match="val_auc"):
        rates(reducer, [1.0])


def scheduled(schedule, epochs=3, lr=1.0, **keywords):
    model = Model(lr)
    callback = callbacks.LearningRateScheduler(schedule, **keywords)
    callback.set_model(model)
    found = []
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        found.append(model.optimizer.lr)
    return found


def test_schedules_of_one_and_of_two_arguments():
    def with_default(epoch, drop=0.5):
        return drop**epoch

    def with_rate(epoch, lr=None):
        return lr * 0.1

    assert scheduled(lambda epoch: 1.0 / (epoch + 1)) == [1.0, 0.5, 1.0 / 3]
    assert scheduled(lambda epoch, rate: rate * 0.5) == [0.5, 0.25, 0.125]
    assert scheduled(with_default) == [1.0, 0.5, 0.25]
    assert scheduled(with_rate, epochs=1) == [0.1]
    assert scheduled(lambda *args: float(len(args)), epochs=1) == [1.0]
    assert scheduled(lambda epoch: np.float32(0.25), epochs=1) == [0.25]


def test_schedule_errors(capsys):
    with pytest.raises(ValueError, match="should be float.*1 of type int for epoch 0"):
        scheduled(lambda epoch: 1)
    model = Model()
    del model.optimizer.lr
    callback = callbacks.LearningRateScheduler(lambda epoch: 0.1)
    callback.set_model(model)
    with pytest.raises(ValueError, match='"lr"'):
        callback.on_epoch_begin(0)
    scheduled(lambda epoch: 0.5, epochs=1, verbose=1)
    assert "setting learning rate to 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("loss", "stops"), [(np.nan, True), (np.inf, True), (-np.inf, True), (1e30, False)]
)
def test_terminate_on_nan(loss, stops, capsys):
    callback = callbacks.TerminateOnNaN()
    model = Model()
    callback.set_model(model)
    callback.on_batch_end(4, {"loss": loss})
    assert model.stop_training is stops
    assert ("Batch 4: Invalid loss" in capsys.readouterr().out) is stops
    callback.on_batch_end(5, {})
