"""Training on Ray workers gives the bits of one worker, whatever happens on the way."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from distributed.marks import ON_RAY

import hornbeam.backend as K
from hornbeam.callbacks import (
    BackupAndRestore,
    Callback,
    LambdaCallback,
    LearningRateScheduler,
)
from hornbeam.distribution import DataParallel, from_environment, set_distribution
from hornbeam.layers import BatchNormalization, Dense, Dropout, Lambda
from hornbeam.models import Sequential
from hornbeam.utils.io_utils import HDF5Matrix

ray = pytest.importorskip("ray")
strategy = pytest.importorskip("hornbeam.distribution.ray.strategy")
from distributed.scenario import assert_same, state  # noqa: E402

StateLostError, WorkersLostError = strategy.StateLostError, strategy.WorkersLostError
pytestmark = ON_RAY

SHARDS = 4
X = np.random.RandomState(0).randn(400, 12).astype("float32")
Y = np.eye(3, dtype="float32")[np.random.RandomState(1).randint(0, 3, 400)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    options = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    ray.init(address="local", num_cpus=4, **options)
    yield
    ray.shutdown()


def build():
    np.random.seed(5)
    model = Sequential(
        [
            Dense(32, activation="relu", input_shape=(12,)),
            BatchNormalization(),
            Dropout(0.4),
            Lambda(lambda x: x * 2.0),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


class Act(Callback):
    """Does something once, in the midst of an epoch, as soon as steps of it have run."""

    def __init__(self, act, epoch=1):
        super().__init__()
        self.act, self.epoch, self.now = act, epoch, -1

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def progress(self, seen, values):
        if self.act is not None and self.now >= self.epoch and seen:
            act, self.act = self.act, None
            act()


def fit(distribution, callbacks=(), epochs=3, **keywords):
    model = build()
    history = model.fit(
        X,
        Y,
        batch_size=30,
        epochs=epochs,
        verbose=0,
        validation_split=0.25,
        callbacks=list(callbacks),
        distribution=distribution,
        **keywords,
    )
    return model, history


@pytest.fixture(scope="module")
def undisturbed(cluster):
    """Return a model and its history, trained by one worker."""
    with DataParallel(1, shards=SHARDS) as one:
        return fit(one)


def pids(distribution):
    return [w["pid"] for w in distribution.strategy().crew.describe()]


def kill(processes, how=signal.SIGKILL):
    for pid in processes:
        os.kill(pid, how)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_train_with_the_bits_of_one(undisturbed, workers):
    with DataParallel(workers, shards=SHARDS) as several:
        result = fit(several)
        assert_same(result, undisturbed)
        probabilities = several_predictions(several, result[0])
    assert np.array_equal(probabilities, result[0].predict(X, batch_size=32))


def several_predictions(distribution, model):
    set_distribution(distribution)
    try:
        scores = model.evaluate(X, Y, verbose=0)
        probabilities = model.predict(X, batch_size=32)
    finally:
        set_distribution(None)
    assert scores == model.evaluate(X, Y, verbose=0)
    return probabilities


def test_one_shard_trains_as_without_distribution():
    with DataParallel(1) as one:
        distributed = fit(one)
    local = fit(None)
    assert all(
        np.allclose(x, y, rtol=1e-5, atol=1e-6)
        for x, y in zip(state(distributed[0]), state(local[0]), strict=True)
    )
    assert np.allclose(distributed[1].history["val_loss"], local[1].history["val_loss"], 1e-5)


def test_synchronized_statistics_are_those_of_one_process():
    local = fit(None)
    with DataParallel(1, shards=SHARDS, synchronized=True) as one:
        expected = fit(one)
    with DataParallel(3, shards=SHARDS, synchronized=True) as several:
        assert_same(fit(several), expected)
    for x, y in zip(state(expected[0]), state(local[0]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-2, atol=1e-4)
    assert np.allclose(expected[1].history["loss"], local[1].history["loss"], 1e-4)


class Slow:
    """Arguments of a fit long enough that something can happen within an epoch."""

    rows = np.random.RandomState(2).randint(0, 400, 60000)
    x, y = X[rows], Y[rows]


def long_fit(distribution, callbacks=()):
    model = build()
    history = model.fit(
        Slow.x,
        Slow.y,
        batch_size=12,
        epochs=3,
        verbose=0,
        callbacks=list(callbacks),
        distribution=distribution,
    )
    return model, history


@pytest.fixture(scope="module")
def long_undisturbed(cluster):
    with DataParallel(1, shards=SHARDS) as one:
        return long_fit(one)


@pytest.mark.parametrize(
    ("workers", "victims", "how"),
    [
        (2, 1, signal.SIGKILL),
        (2, 2, signal.SIGKILL),
        (4, 2, signal.SIGKILL),
        (2, 1, signal.SIGSTOP),
    ],
)
def test_loss_of_workers_does_not_show(long_undisturbed, workers, victims, how):
    with DataParallel(workers, shards=SHARDS) as crew:
        doomed = pids(crew)[-victims:]
        act = Act(lambda: kill(doomed, how))
        assert_same(long_fit(crew, [act]), long_undisturbed)
        assert act.act is None
        events = crew.generations()
        if how == signal.SIGSTOP:
            kill(doomed)
    lost = [name for event in events for name in event["lost"]]
    assert len(lost) == victims, events


def test_loss_of_a_worker_between_exchanges_does_not_show():
    with DataParallel(1, shards=SHARDS, synchronized=True) as one:
        expected = long_fit(one)
    with DataParallel(2, shards=SHARDS, synchronized=True) as crew:
        act = Act(lambda: kill(pids(crew)[-1:]))
        assert_same(long_fit(crew, [act]), expected)
        assert act.act is None
        assert sum(len(event["lost"]) for event in crew.generations()) == 1


def test_a_pass_is_repeated_in_its_own_order_of_samples(monkeypatch):
    """Though the loss of all workers shows when the next epoch's order has been drawn already."""

    def train(distribution, callbacks=()):
        # No validation, before which weights would be fetched.
        model, settings = build(), {"batch_size": 30, "epochs": 3, "verbose": 0}
        return model, model.fit(
            X, Y, callbacks=list(callbacks), distribution=distribution, **settings
        )

    with DataParallel(1, shards=SHARDS) as one:
        undisturbed = train(one)
    lost = []
    with DataParallel(2, shards=SHARDS) as two:
        crew = two.strategy().crew
        ask = crew.ask

        def ask_once_in_vain(call, patience):
            if patience == 60.0 and not lost:
                lost.append(patience)
                raise StateLostError
            return ask(call, patience)

        def fail(epoch, logs):
            if epoch == 1:
                monkeypatch.setattr(crew, "ask", ask_once_in_vain)

        assert_same(train(two, [LambdaCallback(on_epoch_begin=fail)]), undisturbed)
    assert lost


def test_elastic_training_shrinks_and_grows(long_undisturbed):
    with DataParallel((1, 3), shards=SHARDS) as crew:
        first = Act(lambda: kill(pids(crew)[-1:]), epoch=0)
        assert_same(long_fit(crew, [first]), long_undisturbed)
        events = crew.generations()
    assert first.act is None
    assert any(event["lost"] for event in events)
    assert max(len(event["members"]) for event in events) > 1, events


def test_errors_in_workers_name_worker_and_layer():
    from hornbeam.layers import Embedding, Flatten

    model = Sequential([Embedding(10, 4, input_length=3, name="words"), Flatten(), Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((64, 3), dtype="int32")
    x[40] = 99
    with DataParallel(2) as two:
        with pytest.raises(ValueError, match=r"worker \d.*words"):
            model.fit(x, np.zeros((64, 1)), verbose=0, distribution=two)
        # The workers are as good as before.
        model.fit(x[:32], np.zeros((32, 1)), verbose=0, distribution=two)


def test_what_callbacks_change_reaches_the_workers():
    def callbacks():
        def slower(batch, logs):
            if batch == 3:
                model_of[0].optimizer.lr = 1e-4

        model_of = []
        watch = LambdaCallback(
            on_train_begin=lambda logs: model_of.append(watch.model), on_batch_end=slower
        )
        return [LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1)), watch]

    with DataParallel(1, shards=SHARDS) as one, DataParallel(2, shards=SHARDS) as two:
        a, b = fit(one, callbacks()), fit(two, callbacks())
        plain = fit(two)
    assert_same(a, b)
    assert not np.array_equal(state(a[0])[0], state(plain[0])[0])


class Schedule(Callback):
    """A learning rate for each batch; and something that is done at one of them."""

    def __init__(self, reads, act=None):
        super().__init__()
        self.reads, self.act = reads, act
        self.epoch, self.seen, self.losses = 0, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_batch_begin(self, batch, logs=None):
        self.model.optimizer.lr = 0.02 / (1 + batch + 10 * self.epoch)

    def on_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        if self.reads:
            self.seen.append(float(np.abs(self.model.get_weights()[0]).sum()))
        if self.act is not None and (self.epoch, batch) == (1, 6):
            act, self.act = self.act, None
            act()


@pytest.fixture(scope="module")
def scheduled(cluster):
    with DataParallel(1, shards=SHARDS) as one:
        schedule = Schedule(True)
        return *fit(one, [schedule]), schedule


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("victims", [0, 1, 2])
def test_a_learning_rate_for_each_batch(scheduled, victims, reads, monkeypatch):
    """Through the loss of a worker and of all, and without an order of its own for each step."""
    sent = []
    with DataParallel(2, shards=SHARDS) as two:
        crew = two.strategy().crew
        submit = crew.submit
        monkeypatch.setattr(crew, "submit", lambda order: (sent.append(order), submit(order)))
        schedule = Schedule(reads, lambda: kill(pids(two)[2 - victims :]))
        trained = fit(two, [schedule])
        orders = [order for order in sent if order.program is not None]
        # Who knows nothing begins with the values of the driver, or with the first order.
        assert len(orders) == 3 or victims == 2 and len(orders) == 4
    assert_same(trained, scheduled[:2])
    assert schedule.losses == scheduled[2].losses
    assert schedule.seen == (scheduled[2].seen if reads else [])
    assert schedule.act is None


def test_weights_are_fetched_when_they_are_read(monkeypatch):
    """By whatever way, and not otherwise; a learning rate is nothing that workers change."""
    seen, fetched = [], []

    class Look(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_batch_end(self, batch, logs=None):
            before = len(fetched)
            seen.append(ways[name](self.model) if batch in (2, 3) else None)
            seen.append(len(fetched) - before)

        def progress(self, seen_samples, values):
            raise AssertionError("every batch was asked for")

    def first(model):
        return K.function([model.input], [model.layers[0].output])([X[:5]])[0].sum()

    ways = {
        "none": lambda model: 0.0,
        "rate": lambda model: float(K.get_value(model.optimizer.lr)),
        "get_weights": lambda model: model.get_weights()[0].sum(),
        "eval": lambda model: K.eval(K.sum(model.layers[0].kernel)),
        "function": first,
        "predict": lambda model: model.predict(X[:5]).sum(),
    }
    for name in ways:
        traces = []
        for workers in (1, 2):
            seen.clear()
            with DataParallel(workers, shards=SHARDS) as crew:
                ask = crew.strategy().crew.ask
                monkeypatch.setattr(
                    crew.strategy().crew,
                    "ask",
                    lambda call, patience, ask=ask: (
                        fetched.append(1) if patience == 60.0 else None,
                        ask(call, patience),
                    )[1],
                )
                trained = fit(crew, [Look()], epochs=2)
            traces.append((list(seen), [w.tobytes() for w in state(trained[0])]))
        assert traces[0] == traces[1], name
        counts = traces[0][0][1::2]
        expected = 0 if name in ("none", "rate") else 1
        assert counts == [0, 0, expected, expected, 0, 0, 0, 0, 0, 0] * 2, name


def test_weights_can_be_read_when_no_workers_are_left(monkeypatch):
    """They are those that were fetched last, and the error comes once."""
    seen = []

    def lose_all(*_):
        raise WorkersLostError("they are gone")

    class Look(Callback):
        def on_batch_end(self, batch, logs=None):
            if batch == 3:
                seen.append(self.model.get_weights())
            elif batch == 5:
                monkeypatch.setattr(two.strategy().crew, "ask", lose_all)
                self.model.get_weights()

    model = build()
    with DataParallel(2, shards=SHARDS) as two:
        with pytest.raises(WorkersLostError, match="they are gone"):
            model.fit(X, Y, batch_size=30, verbose=0, callbacks=[Look()], distribution=two)
        assert all(map(np.array_equal, model.get_weights(), seen[0]))
        assert np.isfinite(K.eval(K.sum(model.layers[0].kernel)))


def test_much_that_is_changed_between_steps(monkeypatch):
    """More than a message should hold, and more changes than are kept."""
    monkeypatch.setattr(strategy, "_FEW_BYTES", 100)
    monkeypatch.setattr(strategy, "_MANY", 3)

    class Shake(Schedule):
        def on_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.set_weights([0.9 * w for w in self.model.get_weights()])

    with DataParallel(1, shards=SHARDS) as one, DataParallel(2, shards=SHARDS) as two:
        assert_same(fit(one, [Shake(True)]), fit(two, [Shake(True)]))


def test_ctrl_c_leaves_the_weights_of_the_last_whole_step():
    def interrupt():
        raise KeyboardInterrupt

    with DataParallel(2, shards=SHARDS) as two:
        np.random.seed(5)
        model = build()
        with pytest.raises(KeyboardInterrupt):
            model.fit(
                Slow.x, Slow.y, batch_size=12, epochs=1, verbose=0, shuffle=False,
                callbacks=[Act(interrupt, 0)], distribution=two,
            )  # fmt: skip
        steps = int(model.optimizer.get_weights()[0])
        assert 0 < steps < len(Slow.x) // 12
        # That many steps from the beginning lead to the very same weights.
        again = build()
        again.fit(
            Slow.x[: steps * 12], Slow.y[: steps * 12], batch_size=12, epochs=1, verbose=0,
            shuffle=False, distribution=two,
        )  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(state(model), state(again), strict=True))


def test_streams_and_files(tmp_path):
    import h5py

    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["x"], f["y"] = X, Y
    x, y = (HDF5Matrix(tmp_path / "data.h5", name) for name in "xy")

    def batches():
        while True:
            for i in range(0, 400, 50):
                yield X[i : i + 50], Y[i : i + 50]

    results = []
    for workers in (1, 2):
        with DataParallel(workers, shards=SHARDS) as crew:
            a = build()
            file = a.fit(x, y, batch_size=50, verbose=0, shuffle="batch", distribution=crew)
            b = build()
            stream = b.fit(batches(), steps_per_epoch=8, epochs=2, verbose=0, distribution=crew)
        results.append((a, file, b, stream))
    (a, file, b, stream), (a2, file2, b2, stream2) = results
    assert_same((a, file), (a2, file2))
    assert_same((b, stream), (b2, stream2))


def test_backups_go_on_with_other_workers(tmp_path):
    class CutError(Exception):
        pass

    def cut():
        raise CutError

    def callbacks(folder, act=None):
        return [BackupAndRestore(tmp_path / folder, save_freq=4), Cut(act)]

    class Cut(Callback):
        def __init__(self, act):
            super().__init__()
            self.act = act

        def on_batch_end(self, batch, logs=None):
            if batch == 6 and self.act:
                self.act()

    with DataParallel(2, shards=SHARDS) as two:
        whole = fit(two, callbacks("whole"))
        with pytest.raises(CutError):
            fit(two, callbacks("cut", cut))
    with DataParallel(1, shards=SHARDS) as one:
        assert_same(fit(one, callbacks("cut")), whole)


def test_backups_within_epochs_cost_no_round_trip_a_step(tmp_path, monkeypatch):
    sent, saved = [], []

    class Backup(BackupAndRestore):
        def _save(self):
            super()._save()
            saved.append(self._position.batch)

    with DataParallel(2, shards=SHARDS) as two:
        whole = fit(two)
        tell = two.strategy().crew.tell
        monkeypatch.setattr(
            two.strategy().crew, "tell", lambda what, *rest: (sent.append(what), tell(what, *rest))
        )
        assert_same(fit(two, [Backup(tmp_path, save_freq=4)]), whole)
    # Ten batches an epoch.
    assert saved == [4, 8, 0] * 3
    assert sent.count("allow") == 2 * 3


def test_a_worker_that_comes_knows_how_far_it_may_go():
    """In the midst of steps that are run up to where a callback has something due."""

    class GoneOnError(Exception):
        pass

    class Due(Callback):
        killed, joined_at = False, None

        def next_due(self, batch):
            # Twice, or the second time would be the whole pass's, allowed from the first.
            return 10 if batch < 10 else len(x) // 4 - 1

        def progress(self, seen, values):
            crew = two.strategy().crew
            if seen >= 40 and not self.killed:
                self.killed = True
                os.kill(crew.describe()[1]["pid"], signal.SIGKILL)
            elif [len(g["members"]) for g in crew.generations()][2:] == [2]:
                self.joined_at = self.joined_at or seen
                if seen > self.joined_at + 4000:
                    raise GoneOnError

    x = np.zeros((8_000_000, 1), "float32")
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile("sgd", "mse")
    with DataParallel(2, shards=SHARDS) as two, pytest.raises(GoneOnError):
        model.fit(x, x, batch_size=4, verbose=0, callbacks=[Due()], distribution=two)


def test_too_few_cpus_are_an_error():
    with pytest.raises(RuntimeError, match="9 workers of 1 CPUs were asked for.*has 4 CPUs.*fewer"):
        DataParallel(9, start_timeout=3).strategy()


def test_a_script_is_distributed_by_its_environment(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from hornbeam.layers import Dense
            from hornbeam.models import Sequential
            np.random.seed(0)
            x = np.random.randn(64, 4).astype("float32")
            model = Sequential([Dense(1, input_shape=(4,))])
            model.compile("sgd", "mse")
            model.fit(x, x[:, :1], epochs=2, verbose=0)
            print("sum", repr(float(model.get_weights()[0].sum())))
            from hornbeam.distribution import get_distribution
            distribution = get_distribution()
            print("members", len(distribution.generations()[-1]["members"]))
            """
        )
    )
    environment = {
        **os.environ,
        "HORNBEAM_WORKERS": "2",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "members 2" in run.stdout


def test_arguments(monkeypatch):
    for wrong in (0, (3, 2), "4", (1, 2, 3)):
        with pytest.raises(ValueError, match="workers"):
            DataParallel(wrong)
    with pytest.raises(ValueError, match="power of two"):
        DataParallel(2, shards=3)
    assert DataParallel(3).logical_shards == 4
    monkeypatch.setenv("HORNBEAM_WORKERS", "2-5")
    elastic = from_environment()
    assert (elastic.minimum, elastic.maximum, elastic.logical_shards) == (2, 5, 8)
    monkeypatch.setenv("HORNBEAM_WORKERS", "many")
    with pytest.raises(ValueError, match="HORNBEAM_WORKERS"):
        from_environment()
