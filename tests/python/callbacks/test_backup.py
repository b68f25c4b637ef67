"""A fit that is cut off and restored ends with the bits of one that is not."""

import os

import h5py
import numpy as np
import pytest

from hornbeam.callbacks import (
    BackupAndRestore,
    Callback,
    EarlyStopping,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from hornbeam.errors import SupersededError
from hornbeam.layers import BatchNormalization, Dense, Dropout
from hornbeam.models import Sequential
from hornbeam.utils import HDF5Matrix

X = np.random.RandomState(0).randn(70, 6).astype("float32")
Y = np.random.RandomState(1).randn(70, 1).astype("float32")


# How long a backup takes depends on the disk: the warning about slow callbacks is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore:Method on_batch_end")


class CutError(Exception):
    pass


class Cut(Callback):
    """Ends training by an error, unless it has been told not to."""

    def __init__(self, epoch=None, batch=None):
        super().__init__()
        self.at = (lambda: (epoch, batch)) if epoch is not None else None
        self.now = lambda: None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = lambda: epoch
        if self.at and self.at() == (epoch, None):
            raise CutError

    def uses_batch_hooks(self):
        return bool(self.at and self.at()[1] is not None)

    def on_batch_end(self, batch, logs=None):
        if self.at and self.at() == (self.now(), batch):
            raise CutError


def build():
    model = Sequential(
        [
            Dense(8, activation="relu", input_shape=(6,)),
            BatchNormalization(),
            Dropout(0.3),
            Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


def fit(folder, cut=None, save_freq="epoch", shuffle=True, epochs=5):
    np.random.seed(7)
    model = build()
    callbacks = [
        BackupAndRestore(folder, save_freq=save_freq),
        ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, epsilon=1.0),
        cut or Cut(),
    ]
    history = model.fit(
        X,
        Y,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        validation_split=0.2,
        shuffle=shuffle,
    )
    return model, history


def state(model):
    return [*model.get_weights(), *model.optimizer.get_weights()]


def assert_same(a, b):
    assert all(np.array_equal(x, y) for x, y in zip(state(a[0]), state(b[0]), strict=True))
    assert a[1].history == b[1].history and a[1].epoch == b[1].epoch


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize(
    ("save_freq", "epoch", "batch"), [("epoch", 2, None), ("epoch", 3, 1), (1, 2, 2), (2, 1, 1)]
)
def test_restored_training_has_the_bits_of_an_undisturbed_one(
    tmp_path, save_freq, epoch, batch, shuffle
):
    whole = fit(str(tmp_path / "whole"), save_freq=save_freq, shuffle=shuffle)
    folder = str(tmp_path / "cut")
    with pytest.raises(CutError):
        fit(folder, Cut(epoch, batch), save_freq, shuffle)
    assert os.listdir(folder) == ["fit.backup"]
    assert_same(fit(folder, save_freq=save_freq, shuffle=shuffle), whole)
    assert not os.path.exists(folder)


class Backup(BackupAndRestore):
    """Tells of its backups, and cuts training off after one of them."""

    def __init__(self, folder, save_freq, cut=None):
        super().__init__(folder, save_freq=save_freq)
        self.made, self.cut = [], cut

    def _save(self):
        super()._save()
        self.made.append((self._position.epoch, self._position.batch))
        if self.made[-1] == self.cut:
            raise CutError


def fit_at_once(backup, x=X):
    """An epoch has four batches, the last of them short."""
    np.random.seed(7)
    model = build()
    settings = {"batch_size": 20, "epochs": 3, "shuffle": "batch", "verbose": 0}
    return model, model.fit(x, Y, callbacks=[backup], **settings)


@pytest.mark.parametrize("place", ["memory", "file"])
def test_backups_within_epochs_do_not_make_training_enter_every_batch(tmp_path, monkeypatch, place):
    x = X
    if place == "file":
        with h5py.File(tmp_path / "x.h5", "w") as f:
            f["x"] = X
        x = HDF5Matrix(str(tmp_path / "x.h5"), "x")
    whole = Backup(tmp_path / "whole", 2)
    monkeypatch.setattr(BackupAndRestore, "on_batch_end", lambda *_: pytest.fail("a batch hook"))
    expected = fit_at_once(whole, x)
    assert whole.made == [(0, 2), (1, 0), (1, 2), (2, 0), (2, 2), (3, 0)]
    for cut in ((1, 2), (1, 3), (2, 0)):
        folder = tmp_path / f"{cut}"
        with pytest.raises(CutError):
            fit_at_once(Backup(folder, 3 if cut[1] == 3 else 2, cut), x)
        assert_same(fit_at_once(Backup(folder, 2), x), expected)


def test_a_backup_behind_the_last_batch_of_an_epoch(tmp_path):
    """Nothing is left of it to be run, and so there is no loss that could be bad."""

    def run(folder, cut=None, each=None):
        np.random.seed(7)
        model = build()
        callbacks = [Backup(folder, 4, cut), TerminateOnNaN(), each or Cut()]
        return model, model.fit(X, Y, batch_size=20, epochs=3, verbose=0, callbacks=callbacks)

    whole = run(tmp_path / "whole")
    each_batch = Cut(9, 9)
    with pytest.raises(CutError):
        run(tmp_path / "cut", (1, 4), each_batch)
    assert_same(run(tmp_path / "cut"), whole)


def test_training_that_had_stopped_does_not_go_on(tmp_path):
    def run():
        np.random.seed(1)
        model = build()
        backup = BackupAndRestore(tmp_path, delete_checkpoint=False)
        stop = EarlyStopping(monitor="loss", min_delta=10.0, patience=0)
        return model, model.fit(X, Y, epochs=9, verbose=0, callbacks=[backup, stop])

    first, again = run(), run()
    assert len(first[1].epoch) == 2
    assert_same(first, again)


def test_streams_go_on_with_their_next_epoch(tmp_path):
    class Batches:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return X[16 * i : 16 * i + 16], Y[16 * i : 16 * i + 16]

    def run(folder, cut=None):
        np.random.seed(7)
        model = build()
        callbacks = [BackupAndRestore(folder), cut or Cut()]
        return model, model.fit_generator(Batches(), epochs=4, verbose=0, callbacks=callbacks)

    whole = run(tmp_path / "whole")
    with pytest.raises(CutError):
        run(tmp_path / "cut", Cut(2))
    assert_same(run(tmp_path / "cut"), whole)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(CutError):
        fit(str(tmp_path), Cut(2))
    other = Sequential([Dense(1, input_shape=(6,))])
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match="a backup of another model"):
        other.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    with pytest.raises(ValueError, match="was made with the callbacks"):
        build().fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    (tmp_path / "fit.backup").write_bytes(b"something else")
    with pytest.raises(ValueError, match="cannot be read as a backup"):
        build().fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    for wrong in (0, "batch", 1.5):
        with pytest.raises(ValueError, match="save_freq"):
            BackupAndRestore(tmp_path, save_freq=wrong)
    with pytest.raises(ValueError, match="backup_dir"):
        BackupAndRestore("")


def test_a_run_that_was_replaced_leaves_the_backup_alone(tmp_path):
    """It had stood still, was taken for dead, and another has gone on from its backup."""

    class Replaced(Callback):
        def __init__(self, epoch):
            super().__init__()
            # A plain attribute would come back with the backup.
            self.at = lambda: epoch

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.at():
                again, backup = build(), BackupAndRestore(tmp_path, delete_checkpoint=False)
                again.fit(X, Y, epochs=5, verbose=0, callbacks=[backup, Replaced(None)])
                kept.append((tmp_path / "fit.backup").read_bytes())

    kept = []
    with pytest.raises(SupersededError, match="belongs to another run"):
        callbacks = [BackupAndRestore(tmp_path), Replaced(3)]
        build().fit(X, Y, epochs=5, verbose=0, callbacks=callbacks)
    assert [(tmp_path / "fit.backup").read_bytes()] == kept
