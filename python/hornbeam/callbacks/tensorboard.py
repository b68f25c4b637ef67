"""Writing the course of training for TensorBoard, through the package tensorboardX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import MissingDependencyError
from .base import Callback


class TensorBoard(Callback):
    """Write quantities, histograms, images, the graph and embeddings where TensorBoard reads."""

    def __init__(
        self,
        log_dir: str = "./logs",
        histogram_freq: int = 0,
        batch_size: int = 32,
        write_graph: bool = True,
        write_grads: bool = False,
        write_images: bool = False,
        embeddings_freq: int = 0,
        embeddings_layer_names: list[str] | None = None,
        embeddings_metadata: Mapping[str, str] | str | None = None,
    ) -> None:
        """Say what to write.

        Args:
            log_dir: the folder for the event files.
            histogram_freq: epochs between two histograms of weights and of layers' outputs on the
                validation data; 0 writes none.
            batch_size: samples at a time when outputs and gradients are computed.
            write_graph: whether the graph of layers is written.
            write_grads: whether histograms of the gradients are written too.
            write_images: whether the weights are written as images too.
            embeddings_freq: epochs between two snapshots of embeddings; 0 writes none.
            embeddings_layer_names: the layers whose embeddings are written; all by default.
            embeddings_metadata: a file with one label a row, or one for each layer's name.

        Raises:
            MissingDependencyError: when tensorboardX is not installed.
        """
        super().__init__()
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "tensorboardX", "The TensorBoard callback", "tensorboard"
            ) from error
        self.log_dir = log_dir
        self.histogram_freq = histogram_freq
        self.batch_size = batch_size
        self.write_graph = write_graph
        self.write_grads = write_grads
        self.write_images = write_images
        self.embeddings_freq = embeddings_freq
        self.embeddings_layer_names = embeddings_layer_names
        self.embeddings_metadata = embeddings_metadata or {}
        self.writer: Any = None

    def set_model(self, model: Any) -> None:
        """Take the model, open the event file and write the graph."""
        from tensorboardX import SummaryWriter

        self.model = model
        self.writer = SummaryWriter(self.log_dir)
        if self.write_graph:
            _write_graph(self.writer, model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write an epoch."""
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
            if self.validation_data:
                self._write_activity(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings(epoch)
        for name, value in (logs or {}).items():
            if name not in ("batch", "size"):
                self.writer.add_scalar(name, float(value), epoch)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event file."""
        self.writer.close()

    def _write_weights(self, epoch: int) -> None:
        for layer in self.model.layers:
            for weight, value in zip(layer.weights, layer.get_weights(), strict=True):
                tag = weight.name.replace(":", "_")
                self.writer.add_histogram(tag, value, epoch)
                if self.write_images:
                    for i, image in enumerate(weight_images(value)):
                        self.writer.add_image(f"{tag}/{i}", image, epoch, dataformats="HW")

    def _write_activity(self, epoch: int) -> None:
        """Write what the validation data gives: the layers' outputs, and the weights' gradients."""
        from .. import backend as K

        model = self.model
        layers = [layer for layer in model.layers if _has_one_output(layer)]
        weights = model.trainable_weights if self.write_grads else []
        gradients = model.optimizer.get_gradients(model.total_loss, weights) if weights else []
        inputs = [*model.inputs, *model.targets, *model.sample_weights, K.learning_phase()]
        function = K.function(inputs, [layer.output for layer in layers] + list(gradients))
        outputs: list[list[np.ndarray]] = [[] for _ in layers]
        sums = [np.zeros(1)] * len(gradients)
        for batch in self._validation_batches(len(inputs) - 1):
            results = function([*batch, 0])
            for found, result in zip(outputs, results, strict=False):
                found.append(np.ravel(result))
            share = len(batch[0]) / len(self.validation_data[0])
            gained = results[len(layers) :]
            sums = [total + share * g for total, g in zip(sums, gained, strict=True)]
        for layer, values in zip(layers, outputs, strict=True):
            self.writer.add_histogram(f"{layer.name}_out", np.concatenate(values), epoch)
        for weight, total in zip(weights, sums, strict=True):
            self.writer.add_histogram(f"{weight.name.replace(':', '_')}_grad", total, epoch)

    def _validation_batches(self, count: int) -> Iterator[list[np.ndarray]]:
        arrays = list(self.validation_data)[:count]
        samples = len(arrays[0])
        for start in range(0, samples, self.batch_size):
            yield [array[start : start + self.batch_size] for array in arrays]

    def _write_embeddings(self, epoch: int) -> None:
        for layer in self.model.layers:
            wanted = self.embeddings_layer_names
            if layer.name in wanted if wanted else type(layer).__name__ == "Embedding":
                vectors = layer.get_weights()[0]
                self.writer.add_embedding(
                    vectors,
                    metadata=self._labels(layer.name, len(vectors)),
                    tag=layer.name,
                    global_step=epoch,
                )

    def _labels(self, layer_name: str, rows: int) -> list[str] | None:
        path = self.embeddings_metadata
        if not isinstance(path, str):
            path = path.get(layer_name, "")
        if not path:
            return None
        with open(path, encoding="utf-8") as f:
            labels = f.read().splitlines()
        if len(labels) != rows:
            raise ValueError(
                f"TensorBoard: {path} has {len(labels)} rows for the {rows} rows of the embedding "
                f"layer {layer_name!r}"
            )
        return labels


def weight_images(value: np.ndarray) -> Iterable[np.ndarray]:
    """Cut an array of weights into grey images, scaled to 0..1.

    A vector is one row, a matrix one image (wider than high); of three axes each slice of the last
    is an image. Axes of length 1 are dropped first; with more axes left there is no image.

    Args:
        value: the weights.

    Returns:
        Arrays of shape (height, width).
    """
    value = np.squeeze(np.asarray(value, dtype="float64"))
    if value.ndim == 0 or value.ndim > 3 or value.size == 0:
        return []
    low, high = value.min(), value.max()
    value = (value - low) / (high - low if high > low else 1.0)
    if value.ndim == 1:
        return [value[np.newaxis, :]]
    if value.ndim == 2:
        return [value.T if value.shape[0] > value.shape[1] else value]
    return list(np.moveaxis(value, -1, 0))


def _has_one_output(layer: Any) -> bool:
    try:
        output = layer.output
    except (AttributeError, ValueError):  # shared or unconnected layers have no single output
        return False
    return not isinstance(output, (list, tuple))


def _write_graph(writer: Any, model: Any) -> None:
    """Write one node for each layer, with the layers that feed it as its inputs."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.node_def_pb2 import NodeDef

    layers = list(model.layers)
    names = {id(layer): layer.name for layer in layers}
    nodes = []
    for previous, layer in zip([None, *layers], layers, strict=False):
        feeds = [
            names[id(source)]
            for node in getattr(layer, "inbound_nodes", None) or []
            for source in node.inbound_layers
            if id(source) in names
        ]
        if not feeds and previous is not None and type(model).__name__ == "Sequential":
            feeds = [previous.name]
        nodes.append(NodeDef(name=layer.name, op=type(layer).__name__, input=feeds))
    graph = GraphDef(node=nodes)
    writer.file_writer.add_event(Event(graph_def=graph.SerializeToString()))
