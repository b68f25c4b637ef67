"""The summary, drawings and weight conversions, on stand-ins with Keras' names."""

import sys

import numpy as np
import pytest

from hornbeam.errors import MissingDependencyError
from hornbeam.utils import layer_utils, vis_utils


class Weight:
    def __init__(self, *shape):
        self.shape = shape


class Node:
    def __init__(self, *sources):
        self.inbound_layers = list(sources)
        self.node_indices = [0] * len(sources)
        self.tensor_indices = list(range(len(sources)))


class Layer:
    def __init__(self, name, *sources, shape=(None, 4), weights=()):
        self.name = name
        self.input_shape = (None, 3)
        self.output_shape = shape
        self.weights = list(weights)
        self.inbound_nodes = [Node(*sources)]

    def count_params(self):
        return sum(int(np.prod(w.shape)) for w in self.weights)


class Dense(Layer):
    pass


class Shared(Layer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        del self.output_shape, self.input_shape


class TimeDistributed(Layer):
    pass


class Model:
    def __init__(self, *layers, name="model"):
        self.name = name
        self.layers = list(layers)
        self.output_shape = (None, 1)
        self.inbound_nodes = []
        self.nodes_by_depth = {i: layer.inbound_nodes[:1] for i, layer in enumerate(layers)}
        self.weights = [w for layer in layers for w in layer.weights]
        self.trainable_weights = self.weights
        self.non_trainable_weights = []

    def count_params(self):
        return sum(layer.count_params() for layer in self.layers)


class Sequential(Model):
    pass


def summary(model, **keywords):
    lines = []
    layer_utils.print_summary(model, print_fn=lines.append, **keywords)
    return lines


def test_the_summary_of_a_chain(capsys):
    kernel = Weight(10, 100)
    model = Sequential(
        Dense("dense_1", shape=(None, 100), weights=[kernel, Weight(100)]),
        Shared("shared", weights=[kernel]),
    )
    model.non_trainable_weights = [Weight(7)]
    layer_utils.print_summary(model)
    assert capsys.readouterr().out == (
        "_________________________________________________________________\n"
        "Layer (type)                 Output Shape              Param #   \n"
        "=================================================================\n"
        "dense_1 (Dense)              (None, 100)               1100      \n"
        "_________________________________________________________________\n"
        "shared (Shared)              multiple                  1000      \n"
        "=================================================================\n"
        "Total params: 1,107\n"
        "Trainable params: 1,100\n"
        "Non-trainable params: 7\n"
        "_________________________________________________________________\n"
    )


def branching():
    one, two = Dense("one"), Dense("two")
    joined = Dense("joined", one, two, weights=[Weight(2, 3)])
    joined.inbound_nodes.append(Node(two))  # a use in another model
    return Model(one, two, joined)


def test_the_summary_of_a_graph():
    lines = summary(branching())
    assert {len(line) for line in lines if line[0] in "_="} == {100}
    assert lines[1].split() == "Layer (type) Output Shape Param # Connected to".split()
    row = next(i for i, line in enumerate(lines) if line.startswith("joined"))
    assert lines[row].split() == ["joined", "(Dense)", "(None,", "4)", "6", "one[0][0]"]
    assert lines[row + 1].split() == ["two[0][1]"]
    assert lines[row + 2] == "=" * 100


def test_widths():
    model = branching()
    assert len(summary(model, line_length=60)[1]) == 60
    row = summary(model, positions=[20, 40, 50, 70])[1]
    assert (row.index("Output"), row.index("Param"), len(row)) == (20, 40, 70)


def test_models_inside_a_model():
    inner = Sequential(Dense("inside", weights=[Weight(5)]), name="inner")
    outer = Sequential(inner, Dense("last"))
    assert not any("inside" in line for line in summary(outer))
    assert any(line.startswith("| inside (Dense)") for line in summary(outer, expand_nested=True))


def test_later_private_names_of_the_graph_are_found():
    model = branching()
    model._nodes_by_depth = model.__dict__.pop("nodes_by_depth")
    for layer in model.layers:
        layer._inbound_nodes = layer.__dict__.pop("inbound_nodes")
    assert any("two[0][1]" in line for line in summary(model))


class FittedDense:
    def __init__(self, rows, units=3):
        self.weights = [np.random.RandomState(0).normal(size=(rows, units)), np.zeros(units)]

    def get_weights(self):
        return [w.copy() for w in self.weights]

    def set_weights(self, weights):
        self.weights = weights


@pytest.mark.parametrize("target", ["channels_first", "channels_last"])
def test_dense_weights_give_the_same_output_in_the_other_layout(target):
    image = np.random.RandomState(1).normal(size=(4, 5, 2))  # height, width, channels
    first = image.transpose(2, 0, 1)
    before, after = (image, first) if target == "channels_first" else (first, image)
    dense = FittedDense(40)
    expected = before.ravel() @ dense.weights[0]
    layer_utils.convert_dense_weights_data_format(dense, after.shape, target)
    np.testing.assert_allclose(after.ravel() @ dense.weights[0], expected)


def test_dense_weights_errors():
    with pytest.raises(ValueError, match="'th'"):
        layer_utils.convert_dense_weights_data_format(FittedDense(40), (2, 4, 5), "th")
    with pytest.raises(ValueError, match="40 rows"):
        layer_utils.convert_dense_weights_data_format(FittedDense(40), (3, 4, 5))


def test_the_drawing_of_a_graph():
    pytest.importorskip("pydot")
    model = branching()
    wrapper = TimeDistributed("times", model.layers[2])
    wrapper.layer = Dense("inner")
    model.layers.append(wrapper)
    model.nodes_by_depth[3] = wrapper.inbound_nodes
    dot = vis_utils.model_to_dot(model, show_shapes=True, rankdir="LR")
    labels = {node.get_name(): node.get_label() for node in dot.get_nodes() if node.get_label()}
    by_id = {str(id(layer)): layer.name for layer in model.layers}
    assert {by_id[name] for name in labels} == {"one", "two", "joined", "times"}
    edges = {(by_id[e.get_source()], by_id[e.get_destination()]) for e in dot.get_edges()}
    assert edges == {("one", "joined"), ("two", "joined"), ("joined", "times")}
    assert "{{(None, 3)}|{(None, 4)}}" in labels[str(id(model.layers[0]))]
    assert "times(inner): TimeDistributed(Dense)" in labels[str(id(wrapper))]
    assert dot.get_rankdir() == "LR"
    plain = vis_utils.model_to_dot(model, show_layer_names=False)
    assert {n.get_label() for n in plain.get_nodes() if n.get_label()} >= {"Dense"}


def test_the_drawing_of_a_chain_without_nodes(tmp_path):
    pytest.importorskip("pydot")
    model = Sequential(Dense("a"), Dense("b"))
    for layer in model.layers:
        layer.inbound_nodes = []
    assert len(vis_utils.model_to_dot(model).get_edges()) == 1
    path = tmp_path / "m.dot"
    vis_utils.plot_model(model, str(path))
    assert "a: Dense" in path.read_text()


def test_a_missing_pydot_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(MissingDependencyError, match=r"hornbeam\[viz\]"):
        vis_utils.model_to_dot(branching())


def test_a_missing_graphviz_is_named(monkeypatch, tmp_path):
    pytest.importorskip("pydot")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt-get install graphviz"):
        vis_utils.plot_model(branching(), str(tmp_path / "m.png"))
