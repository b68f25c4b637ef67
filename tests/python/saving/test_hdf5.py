import io
import json
import os
import signal
import warnings

import h5py
import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.engine import Input
from hornbeam.layers import BatchNormalization, Dense, Lambda, concatenate
from hornbeam.models import Model, Sequential, load_model, model_from_json, save_model
from hornbeam.optimizers import SGD, Adam, Nadam, RMSprop
from hornbeam.saving import hdf5
from hornbeam.saving.optimizer_state import ordered_by_name, reorder, slot_offset

RNG = np.random.RandomState(0)
X = RNG.normal(size=(20, 4)).astype("float32")
Y = RNG.normal(size=(20, 2)).astype("float32")


def model(optimizer="adam"):
    x = Input((4,), name="x")
    h = BatchNormalization(name="bn")(Dense(5, name="zeta")(x))
    m = Model(x, Dense(2, name="alpha")(h))
    m.compile(optimizer, "mse", metrics=["mae"])
    m.fit(X, Y, epochs=2, verbose=0)
    return m


def assert_same(a, b):
    for u, v in zip(a, b, strict=True):
        np.testing.assert_array_equal(u, v)


@pytest.mark.parametrize(
    "optimizer",
    [SGD(momentum=0.9), RMSprop(), Adam(), Nadam(), "adagrad", "adadelta", "adamax"],
    ids=lambda o: o if isinstance(o, str) else type(o).__name__,
)
def test_training_goes_on_exactly(tmp_path, optimizer):
    first = model(optimizer)
    first.save(tmp_path / "m.h5")
    second = load_model(tmp_path / "m.h5")
    assert second.evaluate(X, Y, verbose=0) == first.evaluate(X, Y, verbose=0)
    assert second.metrics_names == first.metrics_names
    assert_same(first.optimizer.get_weights(), second.optimizer.get_weights())
    for _ in range(3):
        assert first.train_on_batch(X, Y) == second.train_on_batch(X, Y)
    assert_same(first.get_weights(), second.get_weights())


def test_layout(tmp_path):
    m = model()
    save_model(m, str(tmp_path / "m.h5"))
    with h5py.File(tmp_path / "m.h5", "r") as f:
        assert sorted(f.attrs) == ["backend", "keras_version", "model_config", "training_config"]
        assert f.attrs["backend"] == "tensorflow"
        assert json.loads(f.attrs["model_config"])["class_name"] == "Model"
        training = json.loads(f.attrs["training_config"])
        assert training["optimizer_config"]["class_name"] == "Adam"
        assert training["loss"] == "mse" and training["metrics"] == ["mae"]
        weights = f["model_weights"]
        assert [n.decode() for n in weights.attrs["layer_names"]] == ["x", "zeta", "bn", "alpha"]
        names = [n.decode() for n in weights["zeta"].attrs["weight_names"]]
        assert names == ["zeta/kernel:0", "zeta/bias:0"]
        np.testing.assert_array_equal(weights["zeta"]["zeta/kernel:0"], m.get_weights()[0])
        # Keras 2.0.5 trains in the order of names: alpha/bias, alpha/kernel, bn/beta, ...
        shapes = [
            f["optimizer_weights"][n].shape for n in f["optimizer_weights"].attrs["weight_names"]
        ]
        one = [(2,), (5, 2), (5,), (5,), (5,), (4, 5)]
        assert shapes == [(), *one, *one]


def test_without_the_optimizer(tmp_path):
    model().save(tmp_path / "m.h5", include_optimizer=False)
    with pytest.warns(UserWarning, match="No training configuration"):
        m = load_model(tmp_path / "m.h5")
    with pytest.raises(RuntimeError, match="compile"):
        m.evaluate(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hasattr(load_model(tmp_path / "m.h5", compile=False), "optimizer")


def test_sequential_and_nested(tmp_path):
    inner = Sequential([Dense(3, input_shape=(4,)), BatchNormalization()])
    inner.layers[0].trainable = False
    m = Sequential([inner, Dense(2)])
    m.compile("sgd", "mse")
    m.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert isinstance(again, Sequential)
    np.testing.assert_array_equal(again.predict(X), m.predict(X))
    m.save_weights(tmp_path / "w.h5")
    m.set_weights([w * 0 for w in m.get_weights()])
    m.load_weights(tmp_path / "w.h5")
    np.testing.assert_array_equal(again.predict(X), m.predict(X))


def test_weights_of_a_model_file(tmp_path):
    m = model()
    m.save(tmp_path / "m.h5")
    other = model_from_json(m.to_json())
    other.load_weights(tmp_path / "m.h5")
    assert_same(m.get_weights(), other.get_weights())


def test_by_name(tmp_path):
    m = model()
    m.save_weights(tmp_path / "w.h5")
    x = Input((4,))
    other = Model(x, Dense(7, name="new")(Dense(5, name="zeta")(x)))
    before = other.get_layer("new").get_weights()
    other.load_weights(tmp_path / "w.h5", by_name=True)
    assert_same(other.get_layer("zeta").get_weights(), m.get_layer("zeta").get_weights())
    assert_same(other.get_layer("new").get_weights(), before)
    wrong = Model(x, Dense(6, name="zeta")(x))
    with pytest.raises(ValueError, match=r"zeta.*\(4, 6\).*\(4, 5\)"):
        wrong.load_weights(tmp_path / "w.h5", by_name=True)


def test_what_does_not_fit_changes_nothing(tmp_path):
    m = model()
    m.save_weights(tmp_path / "w.h5")
    x = Input((4,))
    fewer = Model(x, Dense(2)(x))
    with pytest.raises(ValueError, match="containing 3 layers into a model with 1"):
        fewer.load_weights(tmp_path / "w.h5")
    h = BatchNormalization()(Dense(5)(x))
    other = Model(x, Dense(3)(h))
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"Layer #2.*\(5, 3\).*\(5, 2\)"):
        other.load_weights(tmp_path / "w.h5")
    assert_same(before, other.get_weights())


def test_files_that_hold_something_else(tmp_path):
    m = model()
    with pytest.raises(OSError, match="no such file"):
        load_model(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(OSError, match=r"open '.*text.h5' as an HDF5 file.*signature"):
        load_model(tmp_path / "text.h5")
    m.save(tmp_path / "cut.h5")
    whole = (tmp_path / "cut.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"open '.*cut.h5' as an HDF5 file.*truncated"):
        m.load_weights(tmp_path / "cut.h5")
    m.save_weights(tmp_path / "w.h5")
    with pytest.raises(ValueError, match="load_weights"):
        load_model(tmp_path / "w.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(ValueError, match="holds no weights"):
        m.load_weights(tmp_path / "empty.h5")


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_losses_that_no_file_holds_are_told(tmp_path, name):
    m = model()
    m.add_loss(K.mean(m.outputs[0]))
    m.compile("sgd", "mse")
    with pytest.warns(UserWarning, match=rf"add_loss.*'{m.name}'.*call\(\) of a layer"):
        m.save(str(tmp_path / name))
    assert load_model(str(tmp_path / name)).losses == []


@pytest.mark.parametrize("name", ["w.h5", "k.weights.h5"])
def test_names_that_nothing_has_are_told(tmp_path, name):
    m = model()
    m.save_weights(tmp_path / name)
    other = Sequential([Dense(5, input_shape=(4,), name="other")])
    before = other.get_weights()
    with pytest.warns(UserWarning, match=r"No weights were loaded.*'zeta'.*\['other'\]"):
        other.load_weights(tmp_path / name, by_name=True)
    np.testing.assert_array_equal(other.get_weights()[0], before[0])


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    m = model()
    path = tmp_path / "m.h5"
    m.save(path)
    content = path.read_bytes()

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(hdf5, "_write_datasets", fail)
    with pytest.raises(OSError, match="no space"):
        m.save(path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["m.h5"]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on files")
@pytest.mark.parametrize("whole", [False, True])
def test_a_full_disk_keeps_the_old_file(tmp_path, whole):
    """A limit on the size of files stands for the disk: writing fails in the midst of it."""
    import resource

    model = Sequential([Dense(400, input_shape=(400,))])
    model.compile("sgd", "mse")
    path = tmp_path / "weights.h5"
    small = Sequential([Dense(3, input_shape=(4,))])
    small.save_weights(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="cannot write .*weights.h5: .*unchanged"):
            model.save(path) if whole else model.save_weights(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["weights.h5"]
    model.save_weights(path)
    model.load_weights(path)


def test_a_folder_that_cannot_be_written(tmp_path):
    model = Sequential([Dense(3, input_shape=(4,))])
    with pytest.raises(FileNotFoundError, match="cannot write .*weights.h5"):
        model.save_weights(tmp_path / "nowhere" / "weights.h5")
    with pytest.raises(IsADirectoryError, match="cannot write"):
        model.save_weights(tmp_path)
    assert list(tmp_path.iterdir()) == []
    if os.geteuid() != 0:  # Root writes everywhere.
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match="cannot write .*weights.h5"):
            model.save_weights(tmp_path / "weights.h5")
        tmp_path.chmod(0o700)


def test_overwriting_is_asked_about(tmp_path, monkeypatch):
    m = model()
    path = tmp_path / "m.h5"
    path.write_text("precious")
    for answer, kept in (("n", True), ("y", False)):
        monkeypatch.setattr("builtins.input", lambda *a, answer=answer: answer)
        m.save_weights(path, overwrite=False)
        assert (path.read_bytes()[:8] == b"precious") == kept


@pytest.mark.parametrize("stdin", [io.StringIO(), io.StringIO("perhaps\n"), None])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("save", "m.h5"),
        ("save", "m.keras"),
        ("save_weights", "m.h5"),
        ("save_weights", "m.weights.h5"),
    ],
)
def test_without_a_terminal_to_ask_on_nothing_is_overwritten(
    tmp_path, monkeypatch, method, name, stdin
):
    path = tmp_path / name
    path.write_text("precious")
    if stdin is not None:
        stdin.seek(0)
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(FileExistsError, match=rf"{name}' already exists.*overwrite=True"):
        getattr(model(), method)(str(path), overwrite=False)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    # What is not there yet needs no question.
    path.unlink()
    getattr(model(), method)(str(path), overwrite=False)
    assert path.stat().st_size > 100


def test_custom_objects(tmp_path):
    def double(y_true, y_pred):
        return 2 * K.mean(K.square(y_true - y_pred), axis=-1)

    def highest(y_true, y_pred):
        return K.max(y_pred)

    class Twice(Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    m = Sequential([Twice(2, input_shape=(4,))])
    m.compile("sgd", double, metrics=[highest])
    m.save(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="Twice"):
        load_model(tmp_path / "m.h5")
    known = {"Twice": Twice, "double": double, "highest": highest}
    again = load_model(tmp_path / "m.h5", custom_objects=known)
    assert again.evaluate(X, Y, verbose=0) == m.evaluate(X, Y, verbose=0)


def test_code_in_files_is_not_run(tmp_path):
    # The dump is made elsewhere: what this process dumped itself is its own code.
    m = Sequential([Lambda(lambda t: t * 2, input_shape=(4,))])
    m.save(tmp_path / "m.h5", include_optimizer=False)
    with h5py.File(tmp_path / "m.h5", "r+") as f:
        config = json.loads(f.attrs["model_config"])
        function = config["config"][0]["config"]["function"]
        assert isinstance(function, (list, tuple))
        import marshal
        from base64 import b64encode

        code = compile("lambda t: t * 3", "other", "eval").co_consts[0]
        config["config"][0]["config"]["function"] = [
            b64encode(marshal.dumps(code)).decode(),
            None,
            None,
        ]
        f.attrs["model_config"] = json.dumps(config).encode()
    with pytest.raises(ValueError, match="safe_mode"):
        load_model(tmp_path / "m.h5", compile=False)
    trusted = load_model(tmp_path / "m.h5", compile=False, safe_mode=False)
    np.testing.assert_allclose(trusted.predict(X), X * 3, rtol=1e-6)


def test_many_layers_and_long_names(tmp_path):
    """The list of names is longer than an HDF5 attribute may be."""
    x = Input((2,))
    parts = [Dense(1, name=f"{'n' * 400}_{i}")(x) for i in range(300)]
    m = Model(x, concatenate(parts))
    m.save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r") as f:
        assert "layer_names" not in f.attrs and "layer_names1" in f.attrs
    weights = m.get_weights()
    m.set_weights([w * 0 for w in weights])
    m.load_weights(tmp_path / "w.h5")
    assert_same(weights, m.get_weights())


def test_weights_into_a_group(tmp_path):
    m = model()
    with h5py.File(tmp_path / "w.h5", "w") as f:
        m.save_weights(f)
        m.load_weights(f)


def test_weights_of_one_name():
    a, b, c = K.zeros((1,), name="w:0"), K.zeros((1,), name="w:0"), K.zeros((1,))
    names = hdf5._weight_names([a, b, c])
    assert names[:2] == ["w:0", "w_1:0"]
    assert len(set(names)) == 3


def test_slots():
    assert [ordered_by_name(v) for v in ("1", "1.2.2", "2.0.5", "2.0.6", "2.0.7", "2.2.4-tf")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    assert slot_offset([(), (2,), (3,), (2,), (3,)], [(2,), (3,)]) == 1
    assert slot_offset([(3,), (2,)], [(2,), (3,)]) is None
    assert slot_offset([()], []) is None
    assert reorder(["i", "a", "b", "c", "d"], 1, [1, 0]) == ["i", "b", "a", "d", "c"]


def test_groups_of_weights_by_their_functions(tmp_path):
    """The functions behind `save_weights` and `load_weights`, where Keras 2 has them."""
    from hornbeam.engine.topology import (
        load_weights_from_hdf5_group,
        load_weights_from_hdf5_group_by_name,
        save_weights_to_hdf5_group,
    )

    model = Sequential([Dense(3, input_shape=(4,), name="a"), Dense(2, name="b")])
    expected = model.get_weights()
    with h5py.File(tmp_path / "w.h5", "w") as f:
        save_weights_to_hdf5_group(f.create_group("inner"), model.layers)
        for load in (load_weights_from_hdf5_group, load_weights_from_hdf5_group_by_name):
            model.set_weights([w * 0 for w in expected])
            load(f["inner"], model.layers)
            for a, b in zip(model.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_model_from_its_configuration():
    from hornbeam.models import model_from_config

    model = Sequential([Dense(3, input_shape=(4,), name="a")])
    again = model_from_config({"class_name": "Sequential", "config": model.get_config()})
    assert again.get_config() == model.get_config()
    with pytest.raises(TypeError, match=r"Sequential\.from_config"):
        model_from_config(model.get_config())
