"""The architectures: their parameters, names, arguments and weights files."""

import functools
import hashlib
import http.server
import json
import threading

import numpy as np
import pytest

from hornbeam import applications
from hornbeam import backend as K
from hornbeam.applications import imagenet_utils, inception_v3, resnet50, vgg16, xception
from hornbeam.engine.topology import Input
from hornbeam.layers import Lambda

# name -> parameters with the classifier and without, least side, features at the end
TABLE = {
    "VGG16": (138_357_544, 14_714_688, 48, 512),
    "VGG19": (143_667_240, 20_024_384, 48, 512),
    "ResNet50": (25_636_712, 23_587_712, 197, 2048),
    "InceptionV3": (23_851_784, 21_802_784, 139, 2048),
    "Xception": (22_910_480, 20_861_480, 71, 2048),
}
BIG = pytest.mark.slow


@functools.lru_cache(maxsize=1)
def bare(name):
    """A model without classifier at the least size, pooled."""
    side = TABLE[name][2]
    return getattr(applications, name)(
        include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg"
    )


@pytest.mark.parametrize("name", TABLE)
def test_without_the_classifier(name):
    _, count, _, features = TABLE[name]
    model = bare(name)
    assert model.count_params() == count
    assert model.output_shape == (None, features)
    assert model.name == {"InceptionV3": "inception_v3"}.get(name, name.lower())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=BIG if n.startswith("VGG") else ()) for n in TABLE]
)
def test_with_the_classifier(name):
    bare.cache_clear()
    model = getattr(applications, name)(weights=None)
    assert model.count_params() == TABLE[name][0]
    assert model.output_shape == (None, 1000)
    side = 299 if name in ("InceptionV3", "Xception") else 224
    assert model.input_shape == (None, side, side, 3)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("VGG16", ["block1_conv1", "block3_conv3", "block5_pool"]),
        ("VGG19", ["block3_conv4", "block5_conv4"]),
        ("ResNet50", ["conv1", "bn_conv1", "res2a_branch1", "bn5c_branch2c", "res4f_branch2b"]),
        ("InceptionV3", ["mixed0", "mixed9_0", "mixed9_1", "mixed10"]),
        (
            "Xception",
            ["block1_conv1_act", "block2_sepconv2_act", "block13_pool", "block14_sepconv2_bn"],
        ),
    ],
)
def test_names_of_layers(name, known):
    names = [layer.name for layer in bare(name).layers]
    assert set(known) <= set(names) and len(set(names)) == len(names)
    counts = {"VGG16": 20, "VGG19": 23, "ResNet50": 176, "InceptionV3": 312, "Xception": 133}
    assert len(names) == counts[name]


def test_shapes_within_the_networks():
    shapes = {layer.name: layer.output_shape for layer in bare("ResNet50").layers}
    assert shapes["conv1"] == (None, 99, 99, 64) and shapes["res5a_branch1"] == (None, 7, 7, 2048)
    full = applications.InceptionV3(include_top=False, weights=None, input_shape=(299, 299, 3))
    shapes = {layer.name: layer.output_shape for layer in full.layers}
    assert shapes["mixed2"] == (None, 35, 35, 288)
    assert shapes["mixed7"] == (None, 17, 17, 768)
    assert full.output_shape == (None, 8, 8, 2048)


def test_weights_files(tmp_path):
    model = bare("VGG16")
    path = tmp_path / "w.h5"
    model.save_weights(str(path))
    again = applications.VGG16(
        include_top=False, weights=path, input_shape=(48, 48, 3), pooling="avg"
    )
    x = np.random.RandomState(0).normal(size=(2, 48, 48, 3)).astype("float32")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_pooling_and_open_sizes():
    model = applications.VGG16(include_top=False, weights=None)
    assert model.input_shape == (None, None, None, 3)
    assert model.output_shape == (None, None, None, 512)
    x = np.random.RandomState(0).normal(size=(1, 64, 96, 3)).astype("float32")
    maps = model.predict(x)
    assert maps.shape == (1, 2, 3, 512)
    pooled = applications.VGG16(include_top=False, weights=None, pooling="max")
    pooled.set_weights(model.get_weights())
    np.testing.assert_allclose(pooled.predict(x), maps.max(axis=(1, 2)), rtol=1e-5)


def test_an_own_input_tensor():
    source = Input((64, 64, 3), name="pixels")
    scaled = Lambda(lambda x: x / 255)(source)
    model = applications.VGG16(include_top=False, weights=None, input_tensor=scaled, pooling="avg")
    assert model.inputs == [source]
    assert model.output_shape == (None, 512)


def test_channels_first():
    K.set_image_data_format("channels_first")
    try:
        model = applications.VGG16(include_top=False, weights=None, input_shape=(3, 48, 64))
        assert model.output_shape == (None, 512, 1, 2)
        with pytest.warns(UserWarning, match="channels last"):
            model = applications.Xception(include_top=False, weights=None)
        assert model.input_shape == (None, None, None, 3)
        assert K.image_data_format() == "channels_first"
    finally:
        K.set_image_data_format("channels_last")


@pytest.mark.parametrize("name", TABLE)
def test_arguments_that_do_not_suit(name):
    make = getattr(applications, name)
    side = TABLE[name][2] - 1
    with pytest.raises(ValueError, match="weights.*'no.h5'"):
        make(weights="no.h5")
    with pytest.raises(ValueError, match="classes.*1000.*Got 10"):
        make(classes=10)
    with pytest.raises(ValueError, match="include_top=True"):
        make(weights=None, input_shape=(100, 100, 3))
    with pytest.raises(ValueError, match=f"at least {side + 1}x{side + 1}"):
        make(weights=None, include_top=False, input_shape=(side, 300, 3))
    with pytest.raises(ValueError, match="3 channels"):
        make(weights=None, include_top=False, input_shape=(300, 300, 1))
    with pytest.raises(ValueError, match="three integers"):
        make(weights=None, include_top=False, input_shape=(300, 300))
    with pytest.raises(ValueError, match="'mean'"):
        make(weights=None, include_top=False, pooling="mean")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_preprocessing_for_vgg_and_resnet(data_format, dtype):
    rgb = np.random.RandomState(0).randint(0, 255, (2, 4, 5, 3)).astype(dtype)
    x = rgb if data_format == "channels_last" else rgb.transpose(0, 3, 1, 2)
    before = x.copy()
    found = vgg16.preprocess_input(x, data_format)
    assert resnet50.preprocess_input is vgg16.preprocess_input
    if data_format == "channels_first":
        found = found.transpose(0, 2, 3, 1)
    expected = rgb[..., ::-1].astype("float64") - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_array_equal(x, before)
    with pytest.raises(ValueError, match="RGB"):
        vgg16.preprocess_input(np.zeros((4, 5, 3)))


def test_preprocessing_for_inception_and_xception():
    x = np.array([[[[0.0, 127.5, 255.0]]]], dtype="float32")
    for module in (inception_v3, xception):
        np.testing.assert_allclose(module.preprocess_input(x), [[[[-1, 0, 1]]]])
    np.testing.assert_array_equal(x.ravel(), [0, 127.5, 255])


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder behind a web server on the loopback interface, and its address."""
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_names_of_predictions(served, monkeypatch):
    folder, url = served
    path = folder / "index.json"
    path.write_text(json.dumps({str(i): [f"n{i:08d}", f"name{i}"] for i in range(1000)}))
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX_PATH", f"{url}/index.json")
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX_DIGEST", md5(path))
    preds = np.zeros((2, 1000), dtype="float32")
    preds[0, [7, 3]] = 0.75, 0.25
    preds[1, 999] = 1.0
    found = vgg16.decode_predictions(preds, top=2)
    assert found[0] == [("n00000007", "name7", 0.75), ("n00000003", "name3", 0.25)]
    assert found[1][0] == ("n00000999", "name999", 1.0)
    assert len(xception.decode_predictions(preds)[0]) == 5
    with pytest.raises(ValueError, match=r"\(1000,\)"):
        vgg16.decode_predictions(preds[0])


def test_weights_of_imagenet_are_fetched(served, monkeypatch):
    folder, url = served
    model = bare("VGG16")
    path = folder / "vgg16.h5"
    model.save_weights(str(path))
    file = imagenet_utils.WeightsFile(f"{url}/vgg16.h5", md5(path))
    monkeypatch.setattr(vgg16, "WEIGHTS", (file, file))
    fetched = applications.VGG16(include_top=False, input_shape=(48, 48, 3))
    for a, b in zip(fetched.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (folder / "home" / "models" / "vgg16.h5").exists()
