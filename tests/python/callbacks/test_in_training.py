"""Callbacks in real training runs."""

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam import callbacks
from hornbeam.layers import BatchNormalization, Dense, Dropout, Embedding, Flatten
from hornbeam.models import Sequential, load_model
from hornbeam.optimizers import SGD
from hornbeam.utils import set_random_seed


def data(n=90, seed=0):
    rng = np.random.RandomState(seed)
    x = rng.normal(size=(n, 4))
    return x, (x.sum(axis=1) > 0).astype("float32")


def model(lr=0.1, extra=()):
    set_random_seed(7)
    made = Sequential([Dense(6, activation="tanh", input_shape=(4,)), *extra])
    made.add(Dense(1, activation="sigmoid"))
    made.compile(SGD(lr=lr), "binary_crossentropy", metrics=["accuracy"])
    return made


class Watch(callbacks.Callback):
    """Forces the hooks for each batch, and keeps what they are given."""

    def on_train_begin(self, logs=None):
        self.batches = []

    def on_batch_end(self, batch, logs=None):
        self.batches.append((batch, dict(logs)))


FIT = {"epochs": 3, "batch_size": 20, "validation_split": 0.2}


@pytest.mark.parametrize(
    "extra", [[], [Dropout(0.5), BatchNormalization()]], ids=["plain", "noisy"]
)
def test_watching_each_batch_changes_nothing(capsys, extra):
    def run(watchers):
        made = model(extra=[type(layer).from_config(layer.get_config()) for layer in extra])
        history = made.fit(*data(), callbacks=watchers, verbose=2, **FIT)
        # The seconds that an epoch took may differ.
        shown = [line.split(" - ", 1)[-1] for line in capsys.readouterr().out.splitlines()]
        return history.history, shown, made.get_weights()

    free, watched = run([]), run([Watch()])
    assert free[1] == watched[1]
    assert list(free[0]) == list(watched[0]) == ["loss", "acc", "val_loss", "val_acc"]
    for name in free[0]:
        np.testing.assert_allclose(free[0][name], watched[0][name], rtol=1e-6)
    for a, b in zip(free[2], watched[2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_batch_is_told():
    watch = Watch()
    history = model().fit(*data(), callbacks=[watch], verbose=0, **FIT)
    first = watch.batches[:4]
    assert [batch for batch, _ in first] == [0, 1, 2, 3] and len(watch.batches) == 12
    assert [logs["size"] for _, logs in first] == [20, 20, 20, 12]
    assert set(first[0][1]) == {"batch", "size", "loss", "acc"}
    for name in ("loss", "acc"):
        mean = sum(logs[name] * logs["size"] for _, logs in first) / 72
        assert history.history[name][0] == pytest.approx(mean, rel=1e-5)


def test_parameters_model_and_validation_data():
    seen = {}

    class Look(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.update(params=self.params, model=self.model, data=self.validation_data)

    made = model()
    x, y = data()
    vx, vy = data(10, seed=1)
    made.fit(x, y, epochs=1, batch_size=30, validation_data=(vx, vy), callbacks=[Look()], verbose=0)
    assert seen["model"] is made
    expected = {"epochs": 1, "samples": 90, "batch_size": 30, "verbose": 0, "do_validation": True}
    assert expected.items() <= seen["params"].items()
    assert seen["params"]["metrics"] == ["loss", "acc", "val_loss", "val_acc"]
    assert seen["data"][0] is vx and seen["data"][1] is vy


def test_history_under_every_name():
    history = model().fit(*data(), verbose=0, **FIT).history
    assert history["accuracy"] == history["acc"] and history["val_accuracy"] == history["val_acc"]
    assert "val_accuracy" in history and "accuracy" not in list(history)


def test_early_stopping_gives_the_best_weights_back():
    x, y = data()
    kept = {}

    def remember(epoch, logs):
        kept[logs["val_loss"]] = made.get_weights()

    made = model(lr=5.0)
    stopper = callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    keeper = callbacks.LambdaCallback(on_epoch_end=remember)
    history = made.fit(
        x, 1 - y, epochs=60, validation_data=(x, y), callbacks=[keeper, stopper], verbose=0
    )
    assert len(history.epoch) < 60
    best = min(history.history["val_loss"])
    assert best == stopper.best
    for found, expected in zip(made.get_weights(), kept[best], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_checkpoints_hold_the_model_of_their_epoch(tmp_path):
    x, y = data()
    made = model()
    weights = []
    recorder = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(made.get_weights())
    )
    saver = callbacks.ModelCheckpoint(str(tmp_path / "{epoch:02d}.h5"))
    light = callbacks.ModelCheckpoint(
        str(tmp_path / "best.h5"), monitor="loss", save_best_only=True, save_weights_only=True
    )
    made.fit(x, y, epochs=3, callbacks=[recorder, saver, light], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00.h5", "01.h5", "02.h5", "best.h5"]
    for epoch, expected in enumerate(weights):
        loaded = load_model(str(tmp_path / f"{epoch:02d}.h5"))
        for a, b in zip(loaded.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    made.load_weights(str(tmp_path / "best.h5"))
    best = int(np.argmin(made.history.history["loss"]))
    np.testing.assert_array_equal(made.get_weights()[0], weights[best][0])


def test_schedules_set_the_rate_that_training_uses():
    made = model()
    rates = []
    scheduler = callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.5)
    look = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(float(K.get_value(made.optimizer.lr)))
    )
    made.fit(*data(), epochs=3, callbacks=[scheduler, look], verbose=0)
    np.testing.assert_allclose(rates, [0.05, 0.025, 0.0125])
    still = model()
    before = still.get_weights()
    still.fit(
        *data(), epochs=1, callbacks=[callbacks.LearningRateScheduler(lambda e: 0.0)], verbose=0
    )
    for a, b in zip(still.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_plateau_lowers_the_rate_and_the_history_has_it():
    made = model()
    reducer = callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=0, epsilon=1e6, min_lr=0.02
    )
    history = made.fit(*data(), epochs=5, callbacks=[reducer], verbose=0).history
    np.testing.assert_allclose(history["lr"], [0.1, 0.1, 0.05, 0.025, 0.02], rtol=1e-6)


def test_invalid_losses_end_training_and_the_history_holds_them(capsys):
    made = Sequential([Dense(2, input_shape=(4,)), Dense(1)])
    made.compile(SGD(lr=1e20), "mse")
    x, y = data()
    history = made.fit(
        x, y * 1e10, epochs=20, batch_size=10, callbacks=[callbacks.TerminateOnNaN()], verbose=0
    )
    assert len(history.epoch) < 20
    assert not np.isfinite(history.history["loss"][-1])
    assert "Invalid loss, terminating training" in capsys.readouterr().out


def test_stopping_within_an_epoch():
    class StopAt(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            self.last = batch
            if batch == 1:
                self.model.stop_training = True

    stop = StopAt()
    made = model()
    history = made.fit(*data(), epochs=4, batch_size=20, callbacks=[stop], verbose=0)
    assert stop.last == 1 and history.epoch == [0]
    assert len(made.fit(*data(), epochs=2, verbose=0).epoch) == 2


def test_csv(tmp_path):
    path = tmp_path / "log.csv"
    history = model().fit(*data(), callbacks=[callbacks.CSVLogger(path)], verbose=0, **FIT)
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,acc,loss,val_acc,val_loss" and len(lines) == 4
    assert float(lines[3].split(",")[2]) == pytest.approx(history.history["loss"][2])


def test_tensorboard_histograms_gradients_and_embeddings(tmp_path):
    pytest.importorskip("tensorboardX")
    import struct

    from tensorboardX.proto.event_pb2 import Event

    set_random_seed(3)
    made = Sequential([Embedding(5, 3, input_length=2), Flatten(), Dense(1)])
    made.compile("sgd", "mse")
    x = np.random.randint(5, size=(20, 2))
    board = callbacks.TensorBoard(
        str(tmp_path), histogram_freq=1, write_grads=True, embeddings_freq=1, batch_size=3
    )
    history = made.fit(
        x, x.sum(axis=1), epochs=2, validation_split=0.5, callbacks=[board], verbose=0
    )
    (path,) = tmp_path.glob("events*")
    raw, values = path.read_bytes(), []
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        event = Event.FromString(raw[12 : 12 + length])
        values += [(event.step, value) for value in event.summary.value]
        raw = raw[12 + length + 4 :]
    scalars = {(step, v.tag): v.simple_value for step, v in values if v.HasField("simple_value")}
    assert scalars[1, "val_loss"] == pytest.approx(history.history["val_loss"][1], rel=1e-6)
    histograms = {v.tag: v.histo for step, v in values if v.HasField("histo") and step == 1}
    outputs = {tag: h for tag, h in histograms.items() if tag.endswith("_out")}
    assert {h.num for h in outputs.values()} == {10.0, 60.0} and len(outputs) == 3
    gradients = {tag: h for tag, h in histograms.items() if tag.endswith("_grad")}
    assert len(gradients) == 3
    # The gradient of the mean squared error to the last bias is twice the mean error.
    (bias,) = [h for tag, h in gradients.items() if "bias" in tag]
    errors = made.predict(x[10:])[:, 0] - x[10:].sum(axis=1)
    assert bias.sum == pytest.approx(2 * errors.mean(), rel=1e-4)
    assert list(tmp_path.rglob("tensors.tsv"))


def diverging(bad=45):
    """A model and data whose loss is NaN in the batch of the sample `bad` and from then on."""
    x, y = data()
    x[bad] = np.nan
    made = model()
    return made, x, y


@pytest.mark.parametrize("others", [[], [Watch]], ids=["in the core", "with hooks"])
def test_terminate_on_nan_stops_at_the_batch(capsys, others):
    made, x, y = diverging()
    history = made.fit(
        x,
        y,
        batch_size=20,
        epochs=4,
        shuffle=False,
        verbose=0,
        validation_data=data(),
        callbacks=[callbacks.TerminateOnNaN(), *(other() for other in others)],
    )
    # The sample is in the third batch of five.
    assert int(K.get_value(made.optimizer.iterations)) == 3
    assert capsys.readouterr().out == "Batch 2: Invalid loss, terminating training\n"
    assert np.isnan(history.history["loss"]).tolist() == [True]
    assert "val_loss" not in history.history


def test_terminate_on_nan_in_the_last_batch_still_validates(capsys):
    made, x, y = diverging(bad=89)
    history = made.fit(
        x,
        y,
        batch_size=20,
        epochs=4,
        shuffle=False,
        verbose=0,
        validation_data=data(),
        callbacks=callbacks.TerminateOnNaN(),
    )
    assert "Batch 4: " in capsys.readouterr().out
    assert len(history.history["val_loss"]) == 1


def test_terminate_on_nan_over_data_in_a_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    made, x, y = diverging()
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["x"], f["y"] = x, y
        made.fit(
            f["x"],
            f["y"],
            batch_size=20,
            epochs=4,
            shuffle="batch",
            verbose=0,
            callbacks=[callbacks.TerminateOnNaN()],
        )
        # Batches are shuffled: the run ends with whichever holds the sample.
        assert 1 <= int(K.get_value(made.optimizer.iterations)) <= 5


def test_terminate_on_nan_needs_no_hooks_for_batches():
    watcher = callbacks.CallbackList([callbacks.TerminateOnNaN()])
    assert not watcher.needs_batch_hooks()
    assert watcher.watches_loss()

    class Own(callbacks.TerminateOnNaN):
        def on_batch_end(self, batch, logs=None):
            pass

    assert callbacks.CallbackList([Own()]).needs_batch_hooks()


def test_a_finite_run_is_not_touched_by_terminate_on_nan():
    runs = []
    for watchers in ([], [callbacks.TerminateOnNaN()]):
        made = model()
        made.fit(*data(), verbose=0, callbacks=watchers, **FIT)
        runs.append(made.get_weights())
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [5, [callbacks.TerminateOnNaN], ["loss"]])
def test_what_is_no_callback_is_refused(given):
    with pytest.raises(TypeError, match="list of Callback objects.*it holds"):
        model().fit(*data(), callbacks=given, verbose=0)
