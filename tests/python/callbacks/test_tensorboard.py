"""What the TensorBoard callback writes, read back from the event file."""

import builtins
import struct

import numpy as np
import pytest

from hornbeam import callbacks
from hornbeam.callbacks.tensorboard import weight_images
from hornbeam.errors import MissingDependencyError


class Weight:
    def __init__(self, name):
        self.name = name


class Node:
    def __init__(self, *layers):
        self.inbound_layers = list(layers)


class Dense:
    def __init__(self, name, *before):
        self.name = name
        self.weights = [Weight(f"{name}/kernel:0"), Weight(f"{name}/bias:0")]
        self.inbound_nodes = [Node(*before)]

    def get_weights(self):
        return [np.arange(6.0).reshape(2, 3), np.zeros(3)]


class Embedding(Dense):
    def get_weights(self):
        return [np.arange(6.0).reshape(3, 2), np.zeros(3)]


class Model:
    def __init__(self):
        first = Embedding("first")
        self.layers = [first, Dense("second", first)]


def read_events(folder):
    """The events of the one file in a folder: TFRecord framing around protocol buffers."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events*")
    data = path.read_bytes()
    events = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[12 + length + 4 :]
    return events


def run(folder, epochs=2, **keywords):
    callback = callbacks.TensorBoard(str(folder), **keywords)
    callback.set_model(Model())
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_end(epoch, {"loss": np.float32(2.0 - epoch), "size": 3, "batch": 1})
    callback.on_train_end()


def test_scalars_histograms_images_and_graph(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.graph_pb2 import GraphDef

    run(tmp_path, histogram_freq=2, write_images=True)
    events = read_events(tmp_path)
    values = [(e.step, v) for e in events for v in e.summary.value]
    scalars = {(s, v.tag): v.simple_value for s, v in values if v.HasField("simple_value")}
    assert scalars == {(0, "loss"): 2.0, (1, "loss"): 1.0}
    histograms = {(s, v.tag) for s, v in values if v.HasField("histo")}
    names = {"first/kernel_0", "first/bias_0", "second/kernel_0", "second/bias_0"}
    assert histograms == {(0, name) for name in names}
    assert {v.tag for _, v in values if v.HasField("image")} == {f"{name}/0" for name in names}
    (graph,) = [GraphDef.FromString(e.graph_def) for e in events if e.graph_def]
    assert [(n.name, n.op, list(n.input)) for n in graph.node] == [
        ("first", "Embedding", []),
        ("second", "Dense", ["first"]),
    ]


def test_embeddings(tmp_path):
    pytest.importorskip("tensorboardX")
    labels = tmp_path / "labels.tsv"
    labels.write_text("a\nb\nc\n")
    logs = tmp_path / "logs"
    run(logs, 1, write_graph=False, embeddings_freq=1, embeddings_metadata={"first": str(labels)})
    (tensors,) = logs.rglob("tensors.tsv")
    np.testing.assert_array_equal(np.loadtxt(tensors), np.arange(6.0).reshape(3, 2))
    assert (tensors.parent / "metadata.tsv").read_text().split() == ["a", "b", "c"]
    labels.write_text("a\n")
    with pytest.raises(ValueError, match="1 rows for the 3 rows.*'first'"):
        run(tmp_path / "b", 1, embeddings_freq=1, embeddings_metadata=str(labels))


def test_a_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def no_tensorboardx(name, *args, **kwargs):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_tensorboardx)
    with pytest.raises(MissingDependencyError, match=r"pip install .*hornbeam\[tensorboard\]"):
        callbacks.TensorBoard()


@pytest.mark.parametrize(
    ("shape", "images"),
    [
        ((5,), [(1, 5)]),
        ((2, 3), [(2, 3)]),
        ((3, 2), [(2, 3)]),
        ((3, 3, 1, 4), [(3, 3)] * 4),
        ((3, 3, 2, 4), []),
        ((1, 1), []),
        ((0, 3), []),
    ],
)
def test_weight_images(shape, images):
    made = list(weight_images(np.random.RandomState(0).normal(size=shape)))
    assert [image.shape for image in made] == images
    assert all(image.min() >= 0 and image.max() <= 1 for image in made)
