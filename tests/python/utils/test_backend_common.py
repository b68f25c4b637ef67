"""The package's settings, and where their defaults come from."""

import importlib.util
import json
import warnings

import numpy as np
import pytest

from hornbeam.backend import common


@pytest.fixture(autouse=True)
def restore():
    saved = common.floatx(), common.epsilon(), common.image_data_format()
    yield
    common.set_floatx(saved[0])
    common.set_epsilon(saved[1])
    common.set_image_data_format(saved[2])


def test_set_and_get():
    common.set_floatx("float64")
    assert common.floatx() == "float64"
    assert common.cast_to_floatx([1, 2]).dtype == np.float64
    common.set_epsilon(1e-3)
    assert common.epsilon() == 1e-3
    common.set_image_data_format("channels_first")
    assert (common.image_data_format(), common.image_dim_ordering()) == ("channels_first", "th")
    common.set_image_dim_ordering("tf")
    assert (common.image_data_format(), common.image_dim_ordering()) == ("channels_last", "tf")


def test_errors_name_what_came():
    for setter, value in (
        (common.set_floatx, "float8"),
        (common.set_image_data_format, "tf"),
        (common.set_image_dim_ordering, "channels_last"),
        (common.set_epsilon, -1.0),
        (common.set_epsilon, float("nan")),
    ):
        with pytest.raises(ValueError, match=str(value)):
            setter(value)


def fresh(monkeypatch, home):
    """Load the module once more, with another home for its settings."""
    monkeypatch.setenv("KERAS_HOME", str(home))
    spec = importlib.util.spec_from_file_location("common_again", common.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_defaults_without_a_file(monkeypatch, tmp_path):
    module = fresh(monkeypatch, tmp_path)
    found = module.floatx(), module.epsilon(), module.image_data_format()
    assert found == ("float32", 1e-7, "channels_last")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"floatx": "float64", "epsilon": 1e-5, "image_data_format": "channels_first"},
            ("float64", 1e-5, "channels_first"),
        ),
        ({"image_dim_ordering": "th", "backend": "theano"}, ("float32", 1e-7, "channels_first")),
        (
            {"image_dim_ordering": "th", "image_data_format": "channels_last"},
            ("float32", 1e-7, "channels_last"),
        ),
    ],
)
def test_the_file_gives_the_defaults_and_is_not_written(monkeypatch, tmp_path, config, expected):
    path = tmp_path / "keras.json"
    path.write_text(json.dumps(config))
    before = path.stat().st_mtime_ns
    module = fresh(monkeypatch, tmp_path)
    assert (module.floatx(), module.epsilon(), module.image_data_format()) == expected
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["{broken", "[1]", '{"floatx": "float8"}', '{"epsilon": "x"}'])
def test_a_file_that_is_wrong_warns_and_leaves_the_defaults(monkeypatch, tmp_path, text):
    (tmp_path / "keras.json").write_text(text)
    with pytest.warns(UserWarning, match="keras.json"):
        module = fresh(monkeypatch, tmp_path)
    assert (module.floatx(), module.epsilon()) == ("float32", 1e-7)


def test_the_home_of_settings(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert common.keras_home() == "/somewhere/.keras"
