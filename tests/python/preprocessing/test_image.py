"""Images: conversion, random transformations, standardising, and batches."""

import sys
import threading

import numpy as np
import pytest

from hornbeam.backend import common
from hornbeam.errors import MissingDependencyError
from hornbeam.preprocessing import image
from hornbeam.utils import OrderedEnqueuer

pytest.importorskip("PIL")


def images(n=6, rows=5, columns=7, channels=3, seed=0):
    shape = (n, rows, columns, channels)
    return np.random.RandomState(seed).uniform(0, 255, shape).astype("float32")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_arrays_and_pictures(channels, data_format):
    x = np.round(images(1, channels=channels)[0])
    if data_format == "channels_first":
        x = x.transpose(2, 0, 1)
    img = image.array_to_img(x, data_format, scale=False)
    assert img.size == (7, 5) and img.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    back = image.img_to_array(img, data_format)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, x)


def test_scaling_to_a_picture():
    x = np.array([[[-1.0], [0.0], [1.0]]])
    found = image.img_to_array(image.array_to_img(x, "channels_last"), "channels_last")
    np.testing.assert_array_equal(found.ravel(), [0, 127, 255])
    np.testing.assert_array_equal(x.ravel(), [-1, 0, 1])
    zeros = image.array_to_img(np.zeros((2, 2, 1)), "channels_last")
    assert image.img_to_array(zeros).max() == 0


def test_the_configured_layout(monkeypatch):
    monkeypatch.setattr(common, "_image_data_format", "channels_first")
    img = image.array_to_img(np.zeros((3, 5, 7)))
    assert image.img_to_array(img).shape == (3, 5, 7)
    assert image.ImageDataGenerator().channel_axis == 1


def test_conversion_errors():
    with pytest.raises(ValueError, match="2, 2"):
        image.array_to_img(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="got 2"):
        image.array_to_img(np.zeros((2, 2, 2)), "channels_last")
    with pytest.raises(ValueError, match="'last'"):
        image.array_to_img(np.zeros((2, 2, 3)), "last")
    with pytest.raises(ValueError, match="unsupported image shape"):
        image.img_to_array(np.zeros((1, 2, 2, 3)))


def test_missing_pillow_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r"hornbeam\[image\]"):
        image.load_img("a.png")


def write(path, x):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.array_to_img(x, "channels_last", scale=False).save(path)


def test_load_img(tmp_path):
    x = np.round(images(1)[0])
    write(tmp_path / "a.png", x)
    np.testing.assert_array_equal(image.img_to_array(image.load_img(tmp_path / "a.png")), x)
    assert image.load_img(tmp_path / "a.png", grayscale=True).mode == "L"
    doubled = image.img_to_array(image.load_img(tmp_path / "a.png", target_size=(10, 14)))
    np.testing.assert_array_equal(doubled, x.repeat(2, axis=0).repeat(2, axis=1))
    smooth = image.load_img(tmp_path / "a.png", target_size=(10, 14), interpolation="bilinear")
    assert not np.array_equal(image.img_to_array(smooth), doubled)
    with pytest.raises(ValueError, match="'cubic'"):
        image.load_img(tmp_path / "a.png", interpolation="cubic")


def test_list_pictures(tmp_path):
    for name in ("b.png", "a-1.JPG", "c.txt", "png", "sub/d.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [p.removeprefix(f"{tmp_path}/") for p in image.list_pictures(tmp_path)]
    assert found == ["a-1.JPG", "b.png", "sub/d.bmp"]
    assert len(image.list_pictures(tmp_path, ext="txt")) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda x: image.random_rotation(x, 180),
        lambda x: image.random_shift(x, 0.3, 0.3),
        lambda x: image.random_shear(x, 1.5),
        lambda x: image.random_zoom(x, (0.5, 1.5)),
        lambda x: image.random_channel_shift(x, 20.0),
    ],
)
def test_random_transformations_follow_numpys_seed(call):
    x = images(1)[0].transpose(2, 0, 1)
    before = x.copy()

    def run(seed):
        np.random.seed(seed)
        return call(x)

    assert run(1).shape == x.shape and run(1).dtype == x.dtype
    np.testing.assert_array_equal(run(1), run(1))
    assert not all(np.array_equal(run(1), run(seed)) for seed in range(2, 6))
    np.testing.assert_array_equal(x, before)


def test_nothing_to_do_changes_nothing():
    x = images(1)[0].transpose(2, 0, 1)
    for found in (
        image.random_rotation(x, 0),
        image.random_shift(x, 0, 0),
        image.random_shear(x, 0),
        image.random_zoom(x, (1, 1)),
        image.random_channel_shift(x, 0),
        image.flip_axis(image.flip_axis(x, 1), 1),
    ):
        np.testing.assert_array_equal(found, x)
    with pytest.raises(ValueError, match="zoom_range"):
        image.random_zoom(x, (1, 1, 1))


def test_channel_shift_stays_in_range():
    x = images(1)[0]
    found = image.random_channel_shift(x, 1000.0, 2)
    assert x.min() <= found.min() and found.max() <= x.max()


ALL = {
    "rotation_range": 90.0,
    "width_shift_range": 0.3,
    "height_shift_range": 0.3,
    "shear_range": 0.5,
    "zoom_range": 0.2,
    "channel_shift_range": 10.0,
    "horizontal_flip": True,
    "vertical_flip": True,
}


@pytest.mark.parametrize("fill_mode", ["nearest", "constant", "reflect", "wrap"])
def test_layouts_agree(fill_mode):
    x = images()
    last = image.ImageDataGenerator(**ALL, fill_mode=fill_mode, data_format="channels_last")
    first = image.ImageDataGenerator(**ALL, fill_mode=fill_mode, data_format="channels_first")
    a = next(last.flow(x, shuffle=False, seed=1))
    b = next(first.flow(x.transpose(0, 3, 1, 2), shuffle=False, seed=1))
    np.testing.assert_array_equal(a, b.transpose(0, 2, 3, 1))
    assert a.shape == x.shape and not np.array_equal(a, x)


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 2]), (3, [3, 3]), (10, [6])])
@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_hold_each_image_once(batch_size, sizes, shuffle):
    x, y = images(), np.arange(6)
    flow = image.ImageDataGenerator().flow(x, y, batch_size, shuffle, seed=3)
    epochs = []
    for _ in range(2):
        batches = [next(flow) for _ in sizes]
        assert [len(labels) for _, labels in batches] == sizes
        labels = np.concatenate([labels for _, labels in batches])
        np.testing.assert_array_equal(np.concatenate([b for b, _ in batches]), x[labels])
        assert sorted(labels) == list(range(6))
        epochs.append(labels.tolist())
    assert (epochs[0] != epochs[1]) is shuffle


def test_without_targets_and_reset():
    flow = image.ImageDataGenerator().flow(images(), batch_size=4, shuffle=False)
    first = next(flow)
    flow.reset()
    np.testing.assert_array_equal(next(flow), first)
    assert iter(flow) is flow and len(flow) == 2 and flow.n == 6


def test_a_seed_leaves_numpys_own_state_alone_and_decides_everything():
    generator = image.ImageDataGenerator(**ALL)
    np.random.seed(0)
    first = [next(generator.flow(images(), batch_size=4, seed=5)) for _ in range(2)]
    after = np.random.rand()
    np.random.seed(0)
    assert np.random.rand() == after
    np.testing.assert_array_equal(first[0], first[1])


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_by_index_are_those_of_next(workers):
    x, y = images(), np.arange(6)
    generator = image.ImageDataGenerator(**ALL)
    one = generator.flow(x, y, batch_size=4, seed=5)
    expected = [next(one) for _ in range(6)]
    with OrderedEnqueuer(generator.flow(x, y, batch_size=4, seed=5)) as enqueuer:
        enqueuer.start(workers=workers)
        found = enqueuer.get()
        for pixels, labels in expected:
            batch = next(found)
            np.testing.assert_array_equal(batch[0], pixels)
            np.testing.assert_array_equal(batch[1], labels)
    with pytest.raises(IndexError, match="2"):
        one[2]


def test_threads_may_share_an_iterator():
    flow = image.ImageDataGenerator(**ALL).flow(images(40), np.arange(40), batch_size=2, seed=1)
    found, lock = [], threading.Lock()

    def work():
        for _ in range(5):
            _, labels = next(flow)
            with lock:
                found.extend(labels.tolist())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(40))


def test_standardising_each_image():
    generator = image.ImageDataGenerator(
        samplewise_center=True,
        samplewise_std_normalization=True,
        rescale=1 / 255,
        preprocessing_function=lambda x: x + 5,
    )
    x = images()
    for found in next(generator.flow(x)):
        assert found.mean() == pytest.approx(0, abs=1e-5) and found.std() == pytest.approx(1, 1e-4)
    plain = image.ImageDataGenerator(rescale=0.5, preprocessing_function=lambda x: x + 5)
    np.testing.assert_allclose(next(plain.flow(x, shuffle=False)), (x + 5) * 0.5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_standardising_by_channel(data_format):
    x = images(20)
    if data_format == "channels_first":
        x = x.transpose(0, 3, 1, 2)
    generator = image.ImageDataGenerator(
        featurewise_center=True, featurewise_std_normalization=True, data_format=data_format
    )
    generator.fit(x)
    found = next(generator.flow(x, batch_size=20))
    axes = (0, generator.row_axis, generator.col_axis)
    np.testing.assert_allclose(found.mean(axis=axes), np.zeros(3), atol=1e-4)
    np.testing.assert_allclose(found.std(axis=axes), np.ones(3), rtol=1e-4)


def test_whitening():
    x = images(400, rows=2, columns=3, channels=1) / 255
    x[:, :, 1] += x[:, :, 0]
    generator = image.ImageDataGenerator(featurewise_center=True, zca_whitening=True)
    generator.fit(x)
    flat = next(generator.flow(x, batch_size=400)).reshape(400, -1).astype("float64")
    np.testing.assert_allclose(flat.T @ flat / 400, np.eye(6), atol=0.02)


def test_fitting_on_transformed_images():
    x = images(4)
    generator = image.ImageDataGenerator(featurewise_center=True, **ALL)
    generator.fit(x, augment=True, rounds=3, seed=1)
    first = generator.mean
    generator.fit(x, augment=True, rounds=3, seed=1)
    np.testing.assert_array_equal(generator.mean, first)
    generator.fit(x)
    assert not np.array_equal(generator.mean, first)
    with pytest.raises(ValueError, match="4 axes"):
        generator.fit(x[0])
    with pytest.warns(UserWarning, match="channels"):
        generator.fit(np.zeros((2, 3, 3, 2)))


@pytest.mark.parametrize(
    "setting", ["featurewise_center", "featurewise_std_normalization", "zca_whitening"]
)
def test_what_was_not_fitted_is_warned_about(setting):
    generator = image.ImageDataGenerator(**{setting: True})
    with pytest.warns(UserWarning, match=f"`{setting}`"):
        generator.standardize(images(1)[0])


def test_generator_errors():
    with pytest.raises(ValueError, match="zoom_range"):
        image.ImageDataGenerator(zoom_range=(1, 2, 3))
    with pytest.raises(ValueError, match="'mirror'"):
        image.ImageDataGenerator(fill_mode="mirror")
    with pytest.raises(ValueError, match="'tf'"):
        image.ImageDataGenerator(data_format="tf")
    flow = image.ImageDataGenerator().flow
    with pytest.raises(ValueError, match="same length"):
        flow(images(), np.arange(5))
    with pytest.raises(ValueError, match="4 axes"):
        flow(images()[0])
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        flow(np.zeros((2, 3, 3, 5)))
    with pytest.raises(ValueError, match="no images"):
        flow(np.zeros((0, 3, 3, 3)))


def test_own_subclasses_of_the_generator_and_the_iterator():
    class Negative(image.ImageDataGenerator):
        def random_transform(self, x):
            return -x

    x = images()
    np.testing.assert_array_equal(next(Negative().flow(x, shuffle=False)), -x)

    class Indices(image.Iterator):
        def next(self):
            with self.lock:
                indices, first, count = next(self.index_generator)
            return indices.tolist(), first, count

    own = Indices(5, 3, False, None)
    assert [next(own) for _ in range(3)] == [([0, 1, 2], 0, 3), ([3, 4], 3, 2), ([0, 1, 2], 0, 3)]


def test_saving_what_is_yielded(tmp_path):
    flow = image.ImageDataGenerator().flow(
        images(), batch_size=4, save_to_dir=str(tmp_path), save_prefix="p", save_format="jpeg"
    )
    next(flow), next(flow)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert len(names) == 6 and [n.split("_")[:2] for n in names] == [
        ["p", str(i)] for i in range(6)
    ]


@pytest.fixture
def folder(tmp_path):
    """Three cats (one deeper down), two dogs, and what is no image."""
    x = np.round(images(5, rows=6, columns=6))
    for name, pixels in zip(
        ("cats/b.png", "cats/a.bmp", "cats/deep/c.PNG", "dogs/d.png", "dogs/e.png"), x, strict=True
    ):
        write(tmp_path / name, pixels)
    (tmp_path / "dogs" / "notes.txt").write_text("none")
    (tmp_path / "loose.png").write_bytes(b"none")
    return tmp_path, x


def test_files_in_folders(folder, capsys):
    path, x = folder
    flow = image.ImageDataGenerator().flow_from_directory(
        str(path), target_size=(6, 6), shuffle=False, batch_size=10
    )
    assert capsys.readouterr().out == "Found 5 images belonging to 2 classes.\n"
    assert flow.class_indices == {"cats": 0, "dogs": 1}
    assert flow.filenames == [
        "cats/a.bmp",
        "cats/b.png",
        "cats/deep/c.PNG",
        "dogs/d.png",
        "dogs/e.png",
    ]
    assert (flow.samples, flow.num_class, flow.num_classes) == (5, 2, 2)
    assert flow.classes.tolist() == [0, 0, 0, 1, 1]
    pixels, labels = next(flow)
    np.testing.assert_array_equal(pixels, x[[1, 0, 2, 3, 4]])
    np.testing.assert_array_equal(labels, np.eye(2)[[0, 0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("mode", "dtype", "expected"),
    [("binary", "float32", [0, 0, 0, 1, 1]), ("sparse", "int32", [0, 0, 0, 1, 1])],
)
def test_class_numbers(folder, mode, dtype, expected):
    flow = image.ImageDataGenerator().flow_from_directory(
        str(folder[0]), (6, 6), class_mode=mode, shuffle=False
    )
    _, labels = next(flow)
    assert labels.dtype == dtype and labels.tolist() == expected


def test_other_modes(folder):
    path = str(folder[0])
    generator = image.ImageDataGenerator(data_format="channels_first")
    gray = generator.flow_from_directory(path, (4, 5), color_mode="grayscale", class_mode=None)
    assert next(gray).shape == (5, 1, 4, 5) and gray.image_shape == (1, 4, 5)
    pixels, again = next(generator.flow_from_directory(path, (6, 6), class_mode="input"))
    np.testing.assert_array_equal(pixels, again)
    only = generator.flow_from_directory(path, (6, 6), classes=["dogs"])
    assert only.class_indices == {"dogs": 0} and only.samples == 2


def test_directory_errors(folder, tmp_path):
    flow = image.ImageDataGenerator().flow_from_directory
    with pytest.raises(ValueError, match="'cmyk'"):
        flow(str(folder[0]), color_mode="cmyk")
    with pytest.raises(ValueError, match="'onehot'"):
        flow(str(folder[0]), class_mode="onehot")
    with pytest.raises(ValueError, match="folder of its own"):
        flow(str(folder[0] / "cats"), classes=["none"])
