"""What a user meets who distributes a script: inputs, custom code, threads, signals, mistakes."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from distributed.marks import ON_RAY

from hornbeam.callbacks import EarlyStopping, ReduceLROnPlateau
from hornbeam.distribution import DataParallel, RayData, set_distribution
from hornbeam.layers import Dense
from hornbeam.models import Sequential
from hornbeam.utils import Sequence

ray = pytest.importorskip("ray")
pytestmark = ON_RAY

X = np.random.RandomState(0).randn(120, 5).astype("float32")
Y = (X[:, :1] - 0.5 * X[:, 1:2]).astype("float32")


@pytest.fixture(scope="module")
def cluster():
    options = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    ray.init(address="local", num_cpus=8, **options)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def crews(cluster):
    with DataParallel(1, shards=2) as one, DataParallel(2) as two:
        yield one, two


def build():
    np.random.seed(3)
    model = Sequential([Dense(8, activation="tanh", input_shape=(5,)), Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def on_both(crews, train):
    """Train on one worker and on two; return the model, and what is printed or returned."""
    results = []
    for crew in crews:
        np.random.seed(4)
        model = build()
        results.append((model, train(model, crew)))
    (a, said), (b, said_too) = results
    state, state_too = ([*m.get_weights(), *m.optimizer.get_weights()] for m in (a, b))
    assert all(np.array_equal(x, y) for x, y in zip(state, state_too, strict=True))
    return a, said, said_too


class Batches(Sequence):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        rows = slice(index * 24, (index + 1) * 24)
        return X[rows], Y[rows]


def test_sequences(crews):
    def train(model, crew):
        return model.fit(
            Batches(), epochs=2, verbose=0, validation_data=Batches(), distribution=crew
        ).history

    model, history, again = on_both(crews, train)
    assert history == again and len(history) == 4 and "val_loss" in history
    # The same batches as arrays give the same weights.
    arrays = build()
    arrays.fit(X, Y, batch_size=24, epochs=2, verbose=0, shuffle=False, distribution=crews[1])
    assert np.array_equal(arrays.get_weights()[0], model.get_weights()[0])


def drawing_sequence():
    class Drawn(Sequence):
        """Augmented at random, and changed by each epoch's end; says which process made it."""

        def __init__(self):
            self.scale = 1.0

        def __len__(self):
            return 5

        def __getitem__(self, index):
            noise = np.random.randn(24, 5) * 0.1
            rows = slice(index * 24, (index + 1) * 24)
            return (X[rows] + noise) * self.scale, Y[rows]

        def on_epoch_end(self):
            self.scale += 1.0

    return Drawn()


def test_workers_make_the_batches_of_a_sequence(crews):
    """Where processes are asked for; what is random in a batch does not depend on who makes it."""

    def train(model, crew):
        options = {"workers": 3, "use_multiprocessing": True, "verbose": 0, "distribution": crew}
        return model.fit(drawing_sequence(), epochs=3, **options).history

    _, history, again = on_both(crews, train)
    assert history == again

    class Origins(Sequence):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return np.full((2, 5), float(os.getpid()))

    set_distribution(crews[1])
    try:
        model = Sequential([Dense(1, input_shape=(5,), use_bias=False)])
        model.set_weights([np.eye(5, 1)])
        made_by = model.predict(Origins(), workers=2, use_multiprocessing=True)
    finally:
        set_distribution(None)
    assert {int(p) for p in made_by[:, 0]} == {
        w["pid"] for w in crews[1].strategy().crew.describe()
    }

    class Broken(Sequence):
        def __init__(self):
            self.held = threading.Lock()

        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise KeyError(f"batch {index}")

    with pytest.raises(ValueError, match="Broken cannot be sent.*use_multiprocessing=False"):
        build().fit(Broken(), verbose=0, use_multiprocessing=True, distribution=crews[1])


def test_datasets_of_ray(crews):
    pytest.importorskip("ray.data")
    rows = [{"x": x, "y": y, "w": 1.0} for x, y in zip(X, Y, strict=True)]
    dataset = ray.data.from_items(rows)

    def train(model, crew):
        batches = RayData(dataset, "x", "y", weights="w", batch_size=24)
        assert len(batches) == 5
        return model.fit(batches, epochs=2, verbose=0, distribution=crew).history

    _, history, again = on_both(crews, train)
    assert history == again
    with pytest.raises(TypeError, match="MaterializedDataset of Ray.*RayData"):
        build().fit(dataset, distribution=crews[1])
    with pytest.raises(ValueError, match="no column 'z'.*'w', 'x', 'y'"):
        next(iter(RayData(dataset, "z")))


def test_callbacks_work_on_the_driver(crews, capsys):
    def train(model, crew):
        callbacks = [
            ReduceLROnPlateau("val_loss", factor=0.5, patience=0, epsilon=1.0),
            EarlyStopping("val_loss", patience=3, min_delta=0.2),
        ]
        history = model.fit(
            X, Y, batch_size=30, epochs=20, verbose=1, validation_split=0.25, callbacks=callbacks,
            distribution=crew,
        )  # fmt: skip
        lines = capsys.readouterr().out.replace("\r", "\n").splitlines()
        return history.history, [line for line in lines if "ETA" not in line and "Epoch" in line]

    model, (history, shown), (again, shown_too) = on_both(crews, train)
    assert history == again and shown == shown_too
    assert 3 < len(history["loss"]) < 20
    assert history["lr"][0] > history["lr"][-1]


def test_threads_of_the_driver_take_turns(crews):
    expected = build()
    expected.fit(X, Y, epochs=8, verbose=0, shuffle=False, distribution=crews[1])
    models = [build() for _ in range(3)]
    errors = []
    set_distribution(crews[1])

    def train(model):
        try:
            model.fit(X, Y, epochs=8, verbose=0, shuffle=False)
            model.predict(X)
        except Exception as error:
            errors.append(error)

    try:
        threads = [threading.Thread(target=train, args=(m,)) for m in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        set_distribution(None)
    assert errors == []
    for model in models:
        assert np.array_equal(model.get_weights()[0], expected.get_weights()[0])


def test_a_lost_worker_is_told_of(crews, caplog):
    crew = crews[1].strategy().crew
    victim = crew.describe()[1]
    model = build()
    model.fit(X, Y, verbose=0, epochs=1, distribution=crews[1])
    os.kill(victim["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not caplog.messages and time.monotonic() < deadline:
        model.fit(X, Y, verbose=0, epochs=20, distribution=crews[1])
    (message,) = caplog.messages
    assert f"worker {victim['name']} was lost (" in message and "SIGKILL" in message
    crew.describe()


def test_a_crew_that_only_dies_is_given_up(monkeypatch):
    from hornbeam.distribution.ray import losses

    monkeypatch.setattr(losses, "cause_of_death", lambda handle: "by a test")
    kept = losses.Losses(limit=3)
    kept.stepped(7, 10)
    for name in "abc":
        assert kept.verdict() is None
        kept.note(name, None, "its process is gone")
        # Steps that are done again after a loss are no progress.
        kept.stepped(7, 9)
    assert "worker c was lost (its process is gone; by a test)" in kept.verdict()
    kept.stepped(7, 11)
    assert kept.verdict() is None
    kept.note("d", None, "")
    kept.stepped(8, 0)
    assert kept.verdict() is None
    low = "Task was killed due to the node running low on memory."
    assert losses.summary(low) == "Ray ended it since its node ran low on memory"
    assert losses.summary("Worker exit detail: It was asked to. More.") == "It was asked to"
    assert losses.summary("nothing of the kind") == ""


def test_threads_of_a_worker(cluster):
    with DataParallel(1, cpus_per_worker=2, shards=2) as one:
        described = one.strategy().crew.describe()
        assert [d["threads"] for d in described] == [2]
        assert ray.available_resources().get("CPU", 0) <= 6
    assert repr(one) == "DataParallel(workers=1, shards=2)"


def environment(**more):
    inherited = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS",)}
    path = os.pathsep.join(p for p in sys.path if p)
    return {**inherited, "PYTHONPATH": path, **more}


def python(code, **more):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_without_ray():
    done = python(
        """
        import sys
        sys.modules["ray"] = None
        import hornbeam.distribution as distribution
        from hornbeam.distribution import *
        for use in (
            lambda: DataParallel(2).strategy(),
            lambda: distribution.HornbeamTrainer,
            lambda: distribution.register_collective_backend,
        ):
            try:
                use()
            except ImportError as error:
                print(error)
        """
    )
    assert done.returncode == 0, done.stderr
    expected = ["hornbeam[ray]", "hornbeam[train]", "hornbeam[ray]"]
    for line, extra in zip(done.stdout.splitlines(), expected, strict=True):
        assert line.endswith(f"needs Ray: pip install '{extra}'"), done.stdout


def test_an_address_where_nobody_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound but not listening: a connection is refused.
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = python(
            "from hornbeam.distribution import DataParallel; DataParallel(2).strategy()",
            RAY_ADDRESS=address,
        )
    assert f"No Ray cluster answers at {address} (RAY_ADDRESS={address})" in done.stderr


SCRIPT = """
    import numpy as np
    from hornbeam import backend as K
    from hornbeam.distribution import DataParallel, set_distribution
    from hornbeam.layers import Dense, Lambda, Layer
    from hornbeam.models import Sequential

    class Scale(Layer):
        def build(self, shape):
            self.scale = self.add_weight(name="s", shape=(shape[-1],), initializer="ones")
            super().build(shape)

        def call(self, x):
            return x * self.scale

    def loss(truth, predicted):
        return K.mean(K.abs(truth - predicted), axis=-1)

    def worst(truth, predicted):
        return K.max(K.abs(truth - predicted))

    set_distribution(DataParallel(workers=2))
    np.random.seed(0)
    x = np.random.rand(200000, 4).astype("float32")
    y = x[:, :1] * 2
    model = Sequential([Dense(8, input_shape=(4,)), Scale(), Lambda(lambda v: v + 1), Dense(1)])
    model.compile("sgd", loss, metrics=[worst])
    history = model.fit(x[:4000], y[:4000], epochs=2, verbose=0)
    print("fell", history.history["loss"][1] < history.history["loss"][0])
    try:
        model.fit(x, y[:9])
    except ValueError as error:
        print("error", error)
    before = model.get_weights()[0]
    print("begin", flush=True)
    try:
        model.fit(x, y, batch_size=8, epochs=100)
    except KeyboardInterrupt:
        print()
        print("moved", bool(np.any(model.get_weights()[0] != before)))
        model.fit(x[:4000], y[:4000], epochs=1, verbose=0)
        print("goes on", model.predict(x[:10]).shape)
"""


def test_a_script_with_its_own_layers_and_ctrl_c(tmp_path):
    """The signal goes to all processes of the terminal, as Ctrl-C does."""
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(textwrap.dedent(SCRIPT))
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", str(script)],
            env=environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 150
        while "ETA" not in out.read_text().partition("begin")[2]:
            assert process.poll() is None and time.monotonic() < deadline, out.read_text()
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0, out.read_text()
    finally:
        process.kill()
        process.wait()
    text = out.read_text()
    before, _, after = text.partition("begin")
    assert "fell True" in before and "error Input arrays should have the same number" in before
    assert "moved True" in after and "goes on (10, 1)" in after
    # Nothing of Ray's comes between the user and the progress bar.
    assert "Warning" not in text and "WARNING" not in text and "Traceback" not in text
