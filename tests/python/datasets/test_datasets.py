"""The data sets, from small files of the same form on a loopback server and on disk."""

import functools
import gzip
import hashlib
import http.server
import io
import json
import pickle
import struct
import tarfile
import threading

import numpy as np
import pytest

from hornbeam import datasets
from hornbeam.backend import common
from hornbeam.datasets.origins import Origin, origins
from hornbeam.errors import ChecksumError, UnsafeFileError


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder behind a web server, in which `put` makes a data set's file available."""
    root = tmp_path / "served"
    root.mkdir()
    handler = functools.partial(QuietHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))

    def put(key, content):
        (root / key).write_bytes(content)
        url = f"http://127.0.0.1:{server.server_port}/{key}"
        monkeypatch.setitem(origins, key, Origin(url, hashlib.sha256(content).hexdigest()))

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def ragged(lists):
    array = np.empty(len(lists), dtype=object)
    array[:] = lists
    return array


def numbers(*shape):
    return (np.arange(np.prod(shape)) % 251).astype("uint8").reshape(shape)


def test_mnist(served, tmp_path):
    arrays = {
        "x_train": numbers(6, 28, 28),
        "y_train": numbers(6),
        "x_test": numbers(2, 28, 28),
        "y_test": numbers(2),
    }
    served("mnist.npz", npz(**arrays))
    (x, y), (x_test, y_test) = datasets.mnist.load_data()
    for found, name in ((x, "x_train"), (y, "y_train"), (x_test, "x_test"), (y_test, "y_test")):
        np.testing.assert_array_equal(found, arrays[name])
    assert (tmp_path / "home" / "datasets" / "mnist.npz").exists()
    assert datasets.mnist.load_data("other.npz")[0][0].shape == (6, 28, 28)


def test_an_own_file_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    path = tmp_path / "mine.npz"
    one = numbers(1)
    np.savez(path, x_train=one, y_train=one, x_test=one, y_test=one)
    assert datasets.mnist.load_data(str(path))[0][0].shape == (1,)
    assert not (tmp_path / "home").exists()


def test_a_changed_file_is_refused(served):
    served("mnist.npz", npz(x_train=numbers(1)))
    origins["mnist.npz"].digest = "0" * 64
    with pytest.raises(ChecksumError):
        datasets.mnist.load_data()


def test_fashion_mnist(served, tmp_path):
    for part, n in (("train", 5), ("t10k", 3)):
        images = struct.pack(">IIII", 0x803, n, 28, 28) + numbers(n, 28, 28).tobytes()
        labels = struct.pack(">II", 0x801, n) + numbers(n).tobytes()
        served(f"{part}-images-idx3-ubyte.gz", gzip.compress(images))
        served(f"{part}-labels-idx1-ubyte.gz", gzip.compress(labels))
    (x, y), (x_test, y_test) = datasets.fashion_mnist.load_data()
    np.testing.assert_array_equal(x, numbers(5, 28, 28))
    np.testing.assert_array_equal(y, numbers(5))
    assert x_test.shape == (3, 28, 28) and y_test.shape == (3,)
    assert (tmp_path / "home" / "datasets" / "fashion-mnist").is_dir()
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(b"\x00\x00\x0d\x01"))
    with pytest.raises(ValueError, match="IDX"):
        datasets.fashion_mnist.read_idx(bad)


def cifar_archive(folder, files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            data = pickle.dumps({k.encode(): v for k, v in content.items()}, protocol=2)
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_cifar10(served, data_format, monkeypatch):
    monkeypatch.setattr(common, "_image_data_format", data_format)
    files = {
        name: {"data": numbers(2, 3072) + i, "labels": [i, i + 1], "batch_label": b"text"}
        for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"])
    }
    served("cifar-10-batches-py", cifar_archive("cifar-10-batches-py", files))
    (x, y), (x_test, y_test) = datasets.cifar10.load_data()
    planes = numbers(2, 3, 32, 32)
    expected = np.concatenate([planes + i for i in range(5)])
    if data_format == "channels_last":
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(x, expected)
    assert y.dtype == np.uint8 and y.ravel().tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert y.shape == (10, 1) and len(x_test) == 2 and y_test.ravel().tolist() == [5, 6]


def test_cifar100(served):
    labels = {"fine_labels": [7, 99], "coarse_labels": [1, 19]}
    files = {part: {"data": numbers(2, 3072), **labels} for part in ("train", "test")}
    served("cifar-100-python", cifar_archive("cifar-100-python", files))
    assert datasets.cifar100.load_data()[0][1].ravel().tolist() == [7, 99]
    (x, y), _ = datasets.cifar100.load_data("coarse")
    assert x.shape == (2, 32, 32, 3) and y.ravel().tolist() == [1, 19]
    with pytest.raises(ValueError, match="'rough'"):
        datasets.cifar100.load_data("rough")


def test_boston_housing(served):
    x = np.arange(20.0).reshape(10, 2)
    served("boston_housing.npz", npz(x=x, y=x[:, 0] * 10))
    (x_train, y_train), (x_test, y_test) = datasets.boston_housing.load_data(test_split=0.3)
    assert len(x_train) == 7 and len(x_test) == 3
    np.testing.assert_array_equal(np.concatenate([x_train, x_test])[:, 0] * 10, [*y_train, *y_test])
    order = np.arange(10)
    np.random.RandomState(113).shuffle(order)
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), x[order])
    with pytest.raises(ValueError, match="1.5"):
        datasets.boston_housing.load_data(test_split=1.5)


TRAIN = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]]
TEST = [[1], [2, 3]]


@pytest.fixture
def imdb(served):
    content = npz(
        x_train=ragged(TRAIN), y_train=np.array([0, 1, 0, 1]), x_test=ragged(TEST), y_test=[1, 0]
    )
    served("imdb.npz", content)


def by_label(split):
    return sorted((list(x), int(y)) for x, y in zip(*split, strict=True))


def test_imdb_marks_and_raises_words(imdb):
    np.random.seed(0)
    expected_state = np.random.RandomState(0).rand()
    train, test = datasets.imdb.load_data()
    assert np.random.rand() == expected_state
    # The greatest number, 13, is the default limit: that word counts as unknown (2).
    words = [[1, *(w + 3 for w in x)] for x in TRAIN]
    words[3][-1] = 2
    assert by_label(train) == sorted(zip(words, [0, 1, 0, 1], strict=True))
    assert by_label(test) == sorted([([1, 4], 1), ([1, 5, 6], 0)])
    assert train[0].dtype == object and isinstance(train[0][0], list)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"num_words": 7}, [[1, 2, 2], [1, 2, 2, 2, 2], [1, 2], [1, 4, 5, 6]]),
        ({"num_words": 7, "oov_char": None}, [[1], [1], [1], [1, 4, 5, 6]]),
        (
            {"skip_top": 6, "start_char": None, "oov_char": 0, "num_words": 99},
            [[0, 0, 6], [10, 11, 12, 13], [7], [8, 9]],
        ),
        (
            {"index_from": 0, "start_char": None, "num_words": 99},
            [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]],
        ),
        ({"maxlen": 4, "num_words": 99}, [[1, 7], [1, 8, 9]]),
    ],
)
def test_imdb_arguments(imdb, keywords, expected):
    (x, _), _ = datasets.imdb.load_data(**keywords)
    assert sorted(list(r) for r in x) == sorted(expected)


def test_imdb_old_names_and_errors(imdb):
    with pytest.warns(UserWarning, match="num_words"):
        (old, _), _ = datasets.imdb.load_data(nb_words=7)
    (new, _), _ = datasets.imdb.load_data(num_words=7)
    assert old.tolist() == new.tolist()
    with pytest.raises(TypeError, match="words"):
        datasets.imdb.load_data(words=7)
    with pytest.raises(ValueError, match="maxlen=1"):
        datasets.imdb.load_data(maxlen=1)


def test_the_seed_decides_on_the_order(imdb):
    def order(seed):
        (x, _), _ = datasets.imdb.load_data(seed=seed)
        return x.tolist()

    assert order(1) == order(1)
    assert len({str(order(seed)) for seed in range(10)}) > 1


def test_reuters(served):
    xs, ys = [[w] * 2 for w in range(10)], np.arange(10)
    served("reuters.npz", npz(x=ragged(xs), y=ys))
    (x, y), (x_test, y_test) = datasets.reuters.load_data(test_split=0.4, num_words=99)
    assert len(x) == 6 and len(x_test) == 4
    for words, topic in zip([*x, *x_test], [*y, *y_test], strict=True):
        assert words == [1, topic + 3, topic + 3]
    order = np.arange(10)
    np.random.RandomState(113).shuffle(order)
    assert [*y, *y_test] == order.tolist()


def test_word_indices(served):
    for module in (datasets.imdb, datasets.reuters):
        served(f"{module.__name__.split('.')[-1]}_word_index.json", json.dumps({"é": 1}).encode())
        assert module.get_word_index() == {"é": 1}


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_file_is_not_run(served, tmp_path, capsys):
    content = npz(x=np.array([Evil(), [1]], dtype=object), y=np.arange(2))
    served("reuters.npz", content)
    with pytest.raises(UnsafeFileError):
        datasets.reuters.load_data()
    batch = tmp_path / "batch"
    batch.write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(UnsafeFileError):
        datasets.cifar.load_batch(batch)
    assert "run" not in capsys.readouterr().out
