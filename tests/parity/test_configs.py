"""Layers as tf_keras describes them in its model files are made as they were."""

from __future__ import annotations

import json

import pytest

import hornbeam as keras
from hornbeam.saving.eras import translate
from parity.building import make
from parity.cases import LAYERS
from parity.comparing import GOLDEN

WRITTEN = json.loads((GOLDEN / "configs_tf.json").read_text())
#: What tf_keras writes in its own words.
IN_OTHER_WORDS = ("name", "dtype", "layer")


def plain(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_described_layer_is_made(name):
    case = next(case for case in LAYERS if case.layer == name)
    layer = keras.layers.deserialize(translate(WRITTEN[name]))
    assert type(layer) is getattr(keras.layers, name)
    found, expected = plain(layer.get_config()), plain(make(case).get_config())
    for key in case.config:
        if key not in IN_OTHER_WORDS:
            assert found[key] == expected[key]
    assert set(found) - {"dtype"} == set(expected) - {"dtype"}
