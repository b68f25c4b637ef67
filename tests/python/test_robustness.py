"""What a long or careless session does to the process: leaks, bad inputs, interrupts, forks."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import hornbeam as keras
from hornbeam.layers import Dense
from hornbeam.models import Sequential

MIB = 1024 * 1024
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")


def classifier():
    """Dense(8), Dense(3), with the names that errors must show."""
    model = Sequential()
    model.add(Dense(8, activation="relu", input_shape=(5,), name="hidden"))
    model.add(Dense(3, activation="softmax", name="scores"))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


X = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
Y = (np.arange(12) % 3).reshape(-1, 1)


# Memory.


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(call, warm_up: int, calls: int) -> int:
    """Bytes that `calls` calls add after `warm_up` of them."""
    for i in range(warm_up):
        call(i)
    before = resident()
    for i in range(calls):
        call(i)
    return resident() - before


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda model: lambda _: model.predict(X), id="predict"),
        pytest.param(lambda model: lambda _: model.train_on_batch(X, Y), id="train_on_batch"),
        pytest.param(lambda model: lambda _: model.test_on_batch(X, Y), id="test_on_batch"),
    ],
)
def test_calls_keep_no_memory(call):
    """10,000 calls; 100 bytes kept by each would be 1 MiB."""
    assert growth(call(classifier()), 1000, 10_000) < 1 * MIB


@LINUX
@pytest.mark.slow
def test_batch_sizes_keep_no_memory():
    """A plan and its buffers for each of 200 batch sizes would be hundreds of MiB."""
    model = Sequential()
    model.add(Dense(1024, activation="relu", input_shape=(16,)))
    model.add(Dense(1024, activation="relu"))
    model.add(Dense(1))
    model.compile("sgd", "mse")
    x = np.ones((264, 16), "float32")
    y = np.ones((264, 1), "float32")

    def call(i):
        n = 264 - i % 200
        model.train_on_batch(x[:n], y[:n])
        model.predict(x[:n], batch_size=n)

    # The first round fills the cache of plans, which keeps the latest of them, and the allocator's.
    assert growth(call, 200, 200) < 64 * MIB


@LINUX
@pytest.mark.slow
def test_models_are_freed():
    """A model, its functions and its buffers go when nothing refers to it."""

    def call(_):
        model = Sequential()
        model.add(Dense(1024, input_shape=(1024,)))
        model.compile("adam", "mse")
        model.train_on_batch(np.ones((4, 1024), "float32"), np.ones((4, 1024), "float32"))

    import gc

    def collected(i):
        call(i)
        gc.collect()

    assert growth(collected, 10, 60) < 64 * MIB


def test_too_large_is_a_memory_error():
    """A tensor of 140 TB is refused; the process does not end."""
    from hornbeam import backend as K  # noqa: N812

    x = K.placeholder(shape=(None, 4))
    function = K.function([x], [K.tile(x, [1 << 22, 1 << 20])])
    with pytest.raises(MemoryError, match="bytes"):
        function([np.ones((2, 4), "float32")])
    assert np.isfinite(classifier().predict(X)).all()


# Processes.


@contextlib.contextmanager
def start(script: str, **kwargs):
    """Run a script in a new interpreter, which ends with the block, its own children included."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **kwargs,
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run(script: str, **kwargs) -> str:
    """The output of a script that must succeed."""
    with start(script, **kwargs) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


INTERRUPTED_CALL = """
    import itertools
    import signal
    import numpy as np
    import hornbeam as keras

    model = keras.models.Sequential()
    model.add(keras.layers.Dense(512, activation="relu", input_shape=(8,)))
    for _ in range(8):
        model.add(keras.layers.Dense(512, activation="relu"))
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    # Each sample reads 8 MB of weights: minutes for all of them.
    x = np.ones((1_000_000, 8), "float32")
    y = np.ones((1_000_000, 1), "float32")
    before = model.get_weights()
    expected = model.predict(x[:10])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print("begun")
        CALL
    except KeyboardInterrupt:
        print("interrupted")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before))
    assert np.array_equal(model.predict(x[:10]), expected)
    model.fit(x[:64], y[:64], epochs=1, verbose=0)
    print("usable")
"""


@pytest.mark.parametrize(
    "call",
    [
        "model.predict(x, batch_size=1)",
        "model.evaluate(x, y, batch_size=1, verbose=0)",
        "model.predict_generator(itertools.repeat(x[:32]), 10**9)",
        "model.evaluate_generator(itertools.repeat((x[:32], y[:32])), 10**9)",
    ],
)
def test_interrupt_stops_other_calls(call):
    with start(INTERRUPTED_CALL.replace("CALL", call)) as process:
        assert process.stdout.readline().strip() == "begun"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out.split() == ["interrupted", "usable"]


INTERRUPTED = """
    import signal
    import numpy as np
    import hornbeam as keras

    model = keras.models.Sequential()
    model.add(keras.layers.Dense(256, activation="relu", input_shape=(64,)))
    model.add(keras.layers.Dense(256, activation="relu"))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(lr=1e-4), "mse")
    x = np.random.normal(size=(100000, 64)).astype("float32")
    y = np.ones((100000, 1), "float32")
    model.train_on_batch(x[:1], y[:1])
    before = model.get_weights()
    # A parent in the background of a shell without a terminal hands down SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print("fitting")
        model.fit(x, y, batch_size=1, epochs=100000, verbose=0)
    except KeyboardInterrupt:
        print("interrupted")
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert not np.array_equal(before[0], after[0])
    assert np.isfinite(model.predict(x[:10])).all()
    model.fit(x[:64], y[:64], epochs=1, verbose=0)
    print("usable")
"""


def test_interrupt_stops_fit():
    """SIGINT in the middle of an endless `fit` of one epoch that Rust runs by itself."""
    with start(INTERRUPTED) as process:
        assert process.stdout.readline().strip() == "fitting"
        # Long enough for the loop to be under way.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out.split() == ["interrupted", "usable"]


def test_import_starts_no_threads_and_writes_nothing(tmp_path):
    if not Path("/proc/self/task").exists():
        pytest.skip("needs Linux's /proc")
    # NumPy's own BLAS would start threads.
    limits = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HOME": str(tmp_path)}
    out = run(
        "import os, hornbeam; print(len(os.listdir('/proc/self/task')))", env=os.environ | limits
    )
    assert out == "1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"HORNBEAM_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"HORNBEAM_NUM_THREADS": "many", "OMP_NUM_THREADS": "2"}, 2),
        ({"HORNBEAM_NUM_THREADS": "0", "OMP_NUM_THREADS": ""}, 1),
        ({}, 1),
    ],
)
def test_the_number_of_threads(variables, threads):
    """What the environment says, else the cores that the process may use: one of them here."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs Linux's affinities")
    others = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    out = run(
        """
        import os
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
        from hornbeam import backend
        print(backend.num_threads())
        """,
        env=others | variables,
    )
    assert out == str(threads)


def test_fork_after_training():
    """A forked child has none of the parent's threads, and computes all the same."""
    out = run(
        """
        import os, warnings
        import numpy as np
        import hornbeam as keras
        warnings.simplefilter("ignore")  # Python 3.12 warns of any fork with threads.
        model = keras.models.Sequential()
        model.add(keras.layers.Dense(512, activation="relu", input_shape=(512,)))
        model.add(keras.layers.Dense(512))
        model.compile("sgd", "mse")
        x = np.ones((256, 512), "float32")
        model.fit(x, x, epochs=1, verbose=0)
        expected = model.predict(x)
        child = os.fork()
        if child == 0:
            same = np.array_equal(model.predict(x), expected)
            model.fit(x, x, epochs=1, verbose=0)
            os._exit(0 if same else 3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert out == "0"


def test_fork_while_another_thread_trains():
    """The child finds the lock that plans run under free, and whole steps' weights."""
    out = run(
        """
        import os, threading, warnings
        import numpy as np
        import hornbeam as keras
        warnings.simplefilter("ignore")
        model = keras.models.Sequential()
        model.add(keras.layers.Dense(256, activation="relu", input_shape=(256,)))
        model.add(keras.layers.Dense(256))
        model.compile("sgd", "mse")
        other = keras.models.Sequential.from_config(model.get_config())
        other.compile("adam", "mse")
        x = np.ones((4096, 256), "float32")
        begun = threading.Event()
        class Stop(keras.callbacks.Callback):
            stop = False
            def on_epoch_end(self, epoch, logs=None):
                begun.set()
                self.model.stop_training = self.stop
        stop = Stop()
        thread = threading.Thread(
            target=lambda: model.fit(x, x, epochs=100000, verbose=0, callbacks=[stop])
        )
        thread.start()
        begun.wait()
        codes = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                import signal
                signal.alarm(20)  # A child that waits for ever ends by the signal.
                other.fit(x[:64], x[:64], epochs=1, verbose=0)
                model.fit(x[:64], x[:64], epochs=1, verbose=0)
                os._exit(0 if np.isfinite(model.predict(x[:5])).all() else 3)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        stop.stop = True
        thread.join()
        print(codes == [0] * 8 or codes)
        """
    )
    assert out == "True"


def test_workers_of_multiprocessing_train():
    """Each process of a pool that was forked after training trains its copy, with the same bits."""
    out = run(
        """
        import multiprocessing, warnings
        import numpy as np
        import hornbeam as keras
        warnings.simplefilter("ignore")
        x = np.random.default_rng(0).normal(size=(512, 64)).astype("float32")
        model = keras.models.Sequential()
        model.add(keras.layers.Dense(256, activation="relu", input_shape=(64,)))
        model.add(keras.layers.Dense(64))
        model.compile("adam", "mse")
        model.fit(x, x, epochs=1, shuffle=False, verbose=0)
        def work(_):
            model.fit(x, x, epochs=1, shuffle=False, verbose=0)
            return [w.tobytes() for w in model.get_weights()]
        with multiprocessing.get_context("fork").Pool(3, maxtasksperchild=1) as pool:
            found = pool.map(work, range(3), chunksize=1)
        expected = work(0)
        print([weights == expected for weights in found])
        """
    )
    assert out == "[True, True, True]"


def test_models_may_train_in_threads_at_once():
    """One model a thread: each learns what it learns alone, to the bit."""
    from concurrent.futures import ThreadPoolExecutor

    first = classifier()
    start = first.get_weights()

    def train(_):
        model = classifier()
        model.set_weights(start)
        model.fit(X, Y, epochs=40, batch_size=5, shuffle=False, verbose=0)
        return model.get_weights()

    expected = train(0)
    with ThreadPoolExecutor(4) as pool:
        for weights in pool.map(train, range(12)):
            for a, b in zip(weights, expected, strict=True):
                assert np.array_equal(a, b)


def test_one_model_in_several_threads_stays_whole():
    """Steps of threads that train one model come one after the other, in some order."""
    from concurrent.futures import ThreadPoolExecutor

    model = classifier()
    before = model.optimizer.get_weights
    steps = 4 * 10 * 3
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(lambda: model.fit(X, Y, epochs=10, batch_size=5, verbose=0))
            for _ in range(4)
        ]
        for one in runs:
            assert np.isfinite(one.result().history["loss"]).all()
    assert before()[0] == steps
    assert np.isfinite(model.predict(X)).all()


def test_each_of_several_runs_at_once_returns_its_own_history():
    from concurrent.futures import ThreadPoolExecutor

    model = classifier()
    first, second = threading.Event(), threading.Event()

    class Meet(keras.callbacks.Callback):
        def __init__(self, mine, other):
            super().__init__()
            self.mine, self.other = mine, other

        def on_train_begin(self, logs=None):
            self.mine.set()
            assert self.other.wait(60)

    with ThreadPoolExecutor(2) as pool:
        pairs = [(2, Meet(first, second)), (3, Meet(second, first))]
        runs = [
            (epochs, pool.submit(model.fit, X, Y, epochs=epochs, verbose=0, callbacks=[meet]))
            for epochs, meet in pairs
        ]
        for epochs, run in runs:
            assert len(run.result().history["loss"]) == epochs


def test_threads_may_predict_at_once():
    from concurrent.futures import ThreadPoolExecutor

    model = classifier()
    expected = model.predict(X)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: model.predict(X), range(64)))
    assert all(np.array_equal(result, expected) for result in results)


# What is shipped.


def test_dependencies_are_two():
    wanted = importlib.metadata.requires("hornbeam") or []
    required = {re.match(r"[\w.-]+", r).group() for r in wanted if "extra ==" not in r}
    assert required == {"numpy", "h5py"}


def test_extension_is_small():
    """The wheel is the extension and some hundred kilobytes of Python: it stays under 10 MB."""
    from hornbeam import _core

    package = Path(keras.__file__).parent
    python = sum(path.stat().st_size for path in package.rglob("*.py"))
    assert Path(_core.__file__).stat().st_size + python < 10_000_000
