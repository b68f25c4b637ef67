"""Endless batches of images, which are also sequences: batches by index, for several workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator as IteratorType
from typing import TYPE_CHECKING, Any

import numpy as np

from ...utils.conv_utils import normalize_data_format
from ...utils.enqueuers import Sequence
from .conversion import array_to_img, img_to_array, load_img

if TYPE_CHECKING:
    from .generator import ImageDataGenerator

_FORMATS = (".png", ".jpg", ".jpeg", ".bmp")


class Iterator(Sequence):
    """The order in which images are yielded; subclasses make the batches.

    With a seed, batch k draws from a generator seeded with seed + k, whoever makes the batch and
    whenever; without one, everything is drawn from `numpy.random`.
    """

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None) -> None:
        """Prepare the order.

        Args:
            n: the number of images.
            batch_size: images in a batch.
            shuffle: whether each epoch has a new order.
            seed: seeds the order and the transformations.

        Raises:
            ValueError: when there are no images.
        """
        if n < 1:
            raise ValueError(f"{type(self).__name__}: there are no images to yield")
        self.n = n
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.batch_index = 0
        self.total_batches_seen = 0
        self.lock = threading.Lock()
        self.index_generator = self._flow_index()
        self._rng: Any = np.random
        self._epoch = 0
        self._epoch_order: np.ndarray | None = None

    def reset(self) -> None:
        """Go back to the beginning of an epoch."""
        self.batch_index = 0

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self) -> Any:
        """Return the next batch. Several threads may call this at the same time."""
        # Only taking the indices is locked: the images are made in parallel.
        with self.lock:
            indices, first, _ = next(self.index_generator)
            rng = self._rng
        return self._make_batch(indices, first, rng)

    def _flow_index(self) -> IteratorType[tuple[np.ndarray, int, int]]:
        """Yield `(indices, position of the first, their number)` without an end."""
        self.reset()
        order = np.arange(self.n)
        while True:
            self._rng = self._source(self.total_batches_seen)
            if self.batch_index == 0:
                order = self._rng.permutation(self.n) if self.shuffle else np.arange(self.n)
            first = self.batch_index * self.batch_size
            indices = order[first : first + self.batch_size]
            last = first + self.batch_size >= self.n
            self.batch_index = 0 if last else self.batch_index + 1
            self.total_batches_seen += 1
            yield indices, first, len(indices)

    def _source(self, batch: int) -> Any:
        return np.random if self.seed is None else np.random.RandomState(self.seed + batch)

    def __getitem__(self, index: int) -> Any:
        """Return a batch of the present epoch by its index."""
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} asked for, of {len(self)}")
        with self.lock:
            start = self._epoch * len(self)
            if self._epoch_order is None:
                source = self._source(start)
                self._epoch_order = (
                    source.permutation(self.n) if self.shuffle else np.arange(self.n)
                )
            order = self._epoch_order
        rng = self._source(start + index)
        if index == 0 and self.shuffle and self.seed is not None:
            rng.permutation(self.n)  # as `next` has it, the order's draw comes before the images'
        first = index * self.batch_size
        return self._make_batch(order[first : first + self.batch_size], first, rng)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch, with an order of its own."""
        with self.lock:
            self._epoch += 1
            self._epoch_order = None

    def _make_batch(self, indices: np.ndarray, first: int, rng: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _make_batch or next")


class _ImageIterator(Iterator):
    """What arrays and files have in common: transforming, standardising and saving."""

    image_data_generator: ImageDataGenerator
    data_format: str
    save_to_dir: str | None
    save_prefix: str
    save_format: str

    def _transformed(self, images: IteratorType[np.ndarray], rng: Any) -> np.ndarray:
        from ...backend import common
        from .generator import ImageDataGenerator

        generator = self.image_data_generator
        # A subclass's own random_transform may know of no generator of random numbers.
        method = getattr(type(generator), "random_transform", None)
        keywords = {"rng": rng} if method is ImageDataGenerator.random_transform else {}
        made = [
            generator.standardize(generator.random_transform(image, **keywords)) for image in images
        ]
        return np.stack(made).astype(common.floatx(), copy=False)

    def _save(self, batch: np.ndarray, first: int, rng: Any) -> None:
        if not self.save_to_dir:
            return
        for i, image in enumerate(batch):
            tag = rng.randint(10_000)
            name = f"{self.save_prefix}_{first + i}_{tag}.{self.save_format}"
            picture = array_to_img(image, self.data_format, scale=True)
            picture.save(os.path.join(self.save_to_dir, name))


class NumpyArrayIterator(_ImageIterator):
    """Batches of images from an array."""

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: ImageDataGenerator,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
    ) -> None:
        """Take the images; the arguments are those of `ImageDataGenerator.flow`.

        Raises:
            ValueError: for an array that holds no images, or as many targets as there are not
                images.
        """
        from ...backend import common

        if y is not None and len(x) != len(y):
            raise ValueError(
                "x (images) and y (labels) should have the same length. Found: x.shape = "
                f"{np.shape(x)}, y.shape = {np.shape(y)}"
            )
        self.data_format = normalize_data_format(data_format)
        self.x = np.asarray(x, dtype=common.floatx())
        if self.x.ndim != 4:
            raise ValueError(
                f"NumpyArrayIterator: expected an array of 4 axes, got the shape {self.x.shape}"
            )
        axis = 3 if self.data_format == "channels_last" else 1
        if self.x.shape[axis] not in (1, 3, 4):
            raise ValueError(
                f"NumpyArrayIterator is set to use the data format {self.data_format!r} (channels "
                f"on axis {axis}), i.e. expected either 1, 3 or 4 channels on axis {axis}. "
                f"However, it was passed an array with shape {self.x.shape}."
            )
        self.y = None if y is None else np.asarray(y)
        self.image_data_generator = image_data_generator
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _make_batch(self, indices: np.ndarray, first: int, rng: Any) -> Any:
        batch = self._transformed((self.x[i].copy() for i in indices), rng)
        self._save(batch, first, rng)
        return batch if self.y is None else (batch, self.y[indices])


class DirectoryIterator(_ImageIterator):
    """Batches of images from files, one folder for each class.

    Attributes:
        samples: the number of images.
        num_class: the number of classes.
        class_indices: name of a class -> its number.
        filenames: the images' paths below the folder.
        classes: the class number of each image, an int32 array.
    """

    def __init__(
        self,
        directory: str,
        image_data_generator: ImageDataGenerator,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: list[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
    ) -> None:
        """Find the images; the arguments are those of `flow_from_directory`.

        Raises:
            ValueError: for another color or class mode, or when there are no images.
        """
        if color_mode not in ("rgb", "grayscale"):
            raise ValueError(f"Invalid color mode: {color_mode!r}; expected 'rgb' or 'grayscale'.")
        if class_mode not in ("categorical", "binary", "sparse", "input", None):
            raise ValueError(
                f"Invalid class_mode: {class_mode!r}; expected one of 'categorical', 'binary', "
                "'sparse', 'input' or None."
            )
        self.directory = directory
        self.image_data_generator = image_data_generator
        self.target_size = tuple(target_size)
        self.color_mode = color_mode
        self.class_mode = class_mode
        self.data_format = normalize_data_format(data_format)
        channels = (3,) if color_mode == "rgb" else (1,)
        last = self.data_format == "channels_last"
        self.image_shape = (*self.target_size, *channels) if last else channels + self.target_size
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format

        names = list(classes) if classes else _folders(directory)
        self.num_class = len(names)
        self.class_indices = {name: number for number, name in enumerate(names)}
        found = [(_images(directory, name, follow_links), name) for name in names]
        self.filenames = [path for paths, _ in found for path in paths]
        numbers = [self.class_indices[name] for paths, name in found for _ in paths]
        self.classes = np.array(numbers, dtype="int32")
        self.samples = len(self.filenames)
        print(f"Found {self.samples} images belonging to {self.num_class} classes.")
        if not self.samples:
            raise ValueError(
                f"DirectoryIterator: no {', '.join(_FORMATS)} files in the folders {names} of "
                f"{directory}. Each class needs a folder of its own."
            )
        super().__init__(self.samples, batch_size, shuffle, seed)

    @property
    def num_classes(self) -> int:
        """The number of classes, by its name in later Keras versions."""
        return self.num_class

    def _make_batch(self, indices: np.ndarray, first: int, rng: Any) -> Any:
        batch = self._transformed((self._read(self.filenames[i]) for i in indices), rng)
        self._save(batch, first, rng)
        if self.class_mode is None:
            return batch
        return batch, self._targets(batch, self.classes[indices])

    def _read(self, filename: str) -> np.ndarray:
        img = load_img(
            os.path.join(self.directory, filename),
            grayscale=self.color_mode == "grayscale",
            target_size=(self.target_size[0], self.target_size[1]),
        )
        return img_to_array(img, self.data_format)

    def _targets(self, batch: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        if self.class_mode == "input":
            return batch.copy()
        if self.class_mode == "sparse":
            return numbers
        if self.class_mode == "binary":
            return numbers.astype(batch.dtype)
        return np.eye(self.num_class, dtype=batch.dtype)[numbers]


def _folders(directory: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())


def _images(directory: str, name: str, follow_links: bool) -> list[str]:
    """Return the paths of a class's images below the folder, in a fixed order."""
    found = []
    for root, _, files in os.walk(os.path.join(directory, name), followlinks=follow_links):
        for file in files:
            if file.lower().endswith(_FORMATS):
                found.append(os.path.relpath(os.path.join(root, file), directory))
    return sorted(found, key=lambda path: os.path.split(path))
