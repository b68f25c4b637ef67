"""Settings for standardising and randomly transforming images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...utils.conv_utils import normalize_data_format
from ...utils.user_warnings import warn
from . import transforms
from .affine import FILL_MODES
from .iterators import DirectoryIterator, NumpyArrayIterator


class ImageDataGenerator:
    """Make batches of images, standardised and randomly transformed.

    Attributes:
        mean: mean of each channel over the data fitted on, or None.
        std: standard deviation of each channel, or None.
        principal_components: the whitening matrix, or None.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0.0,
        width_shift_range: float = 0.0,
        height_shift_range: float = 0.0,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[np.ndarray], np.ndarray] | None = None,
        data_format: str | None = None,
    ) -> None:
        """Say what is done to each image; transformations come first, then standardising.

        Args:
            featurewise_center: subtract the mean of the data fitted on, by channel.
            samplewise_center: subtract the image's own mean.
            featurewise_std_normalization: divide by the standard deviation of the data fitted on.
            samplewise_std_normalization: divide by the image's own standard deviation.
            zca_whitening: remove the correlations between pixels.
            zca_epsilon: added to the eigenvalues before whitening divides by their root.
            rotation_range: greatest rotation, in degrees.
            width_shift_range: greatest shift along the columns, as a fraction of the width.
            height_shift_range: greatest shift along the rows, as a fraction of the height.
            shear_range: greatest shear, in radians.
            zoom_range: least and greatest zoom; a number z stands for (1 - z, 1 + z).
            channel_shift_range: greatest number added to a channel.
            fill_mode: what is beyond the borders: 'nearest', 'constant', 'reflect' or 'wrap'.
            cval: the value beyond the borders, for 'constant'.
            horizontal_flip: mirror half of the images left to right.
            vertical_flip: mirror half of the images top to bottom.
            rescale: a factor; None or 0 for none.
            preprocessing_function: called with each image, before the factor is applied.
            data_format: where the channels are; the configured layout by default.

        Raises:
            ValueError: for a zoom range, fill mode or layout that is none.
        """
        self.featurewise_center = featurewise_center
        self.samplewise_center = samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening = zca_whitening
        self.zca_epsilon = zca_epsilon
        self.rotation_range = rotation_range
        self.width_shift_range = width_shift_range
        self.height_shift_range = height_shift_range
        self.shear_range = shear_range
        self.channel_shift_range = channel_shift_range
        if fill_mode not in FILL_MODES:
            raise ValueError(f"Unknown fill_mode: {fill_mode!r}. Expected one of {FILL_MODES}.")
        self.fill_mode = fill_mode
        self.cval = cval
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.data_format = normalize_data_format(data_format)
        first = self.data_format == "channels_first"
        self.channel_axis, self.row_axis, self.col_axis = (1, 2, 3) if first else (3, 1, 2)
        if isinstance(zoom_range, (int, float, np.number)):
            self.zoom_range = [1 - float(zoom_range), 1 + float(zoom_range)]
        elif len(zoom_range) == 2:
            self.zoom_range = list(zoom_range)
        else:
            raise ValueError(
                "ImageDataGenerator: zoom_range should be a float or a tuple or list of two "
                f"floats, got {zoom_range!r}"
            )
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None
        self.principal_components: np.ndarray | None = None

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
    ) -> NumpyArrayIterator:
        """Yield batches of transformed images from an array, without an end.

        Args:
            x: images, an array of four axes.
            y: their targets; without them only images are yielded.
            batch_size: images in a batch.
            shuffle: whether each epoch has the images in a new order.
            seed: seeds the order and the transformations.
            save_to_dir: a folder to write the images to that are yielded.
            save_prefix: beginning of these files' names.
            save_format: their format.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
        )

    def flow_from_directory(
        self,
        directory: str,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: list[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
    ) -> DirectoryIterator:
        """Yield batches of transformed images from files, without an end.

        Args:
            directory: a folder with one folder for each class.
            target_size: (height, width) that the images are resized to.
            color_mode: 'rgb' or 'grayscale'.
            classes: names of the classes' folders; all folders, sorted, by default.
            class_mode: 'categorical' for one-hot targets, 'binary' or 'sparse' for class numbers,
                'input' for the images themselves, None for no targets.
            batch_size: images in a batch.
            shuffle: whether each epoch has the images in a new order.
            seed: seeds the order and the transformations.
            save_to_dir: a folder to write the images to that are yielded.
            save_prefix: beginning of these files' names.
            save_format: their format.
            follow_links: whether links to folders inside the classes' folders are followed.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            data_format=self.data_format,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            follow_links=follow_links,
        )

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """Return a standardised copy of an image.

        Args:
            x: an image of three axes.
        """
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if self.rescale:
            x = x * self.rescale
        if self.samplewise_center:
            x = x - np.mean(x)
        if self.samplewise_std_normalization:
            x = x / (np.std(x) + 1e-7)
        if self.featurewise_center and self._fitted("featurewise_center", self.mean):
            x = x - self.mean
        if self.featurewise_std_normalization:
            if self._fitted("featurewise_std_normalization", self.std):
                x = x / (np.asarray(self.std) + 1e-7)
        if self.zca_whitening and self._fitted("zca_whitening", self.principal_components):
            x = (np.ravel(x) @ self.principal_components).reshape(x.shape)
        return x

    def _fitted(self, setting: str, statistic: np.ndarray | None) -> bool:
        if statistic is None:
            warn(
                f"This ImageDataGenerator specifies `{setting}`, but it hasn't been fit on any "
                "training data. Fit it first by calling `.fit(numpy_data)`."
            )
        return statistic is not None

    def random_transform(
        self, x: np.ndarray, seed: int | None = None, rng: Any = None
    ) -> np.ndarray:
        """Return a randomly transformed copy of an image.

        Args:
            x: an image of three axes.
            seed: seeds the draws of this call.
            rng: a `numpy.random.RandomState` to draw from; `numpy.random` by default.
        """
        if rng is None:
            rng = np.random if seed is None else np.random.RandomState(seed)
        row, col, channel = self.row_axis - 1, self.col_axis - 1, self.channel_axis - 1
        matrix = self._draw_matrix(x.shape[row], x.shape[col], rng)
        if matrix is not None:
            matrix = transforms.transform_matrix_offset_center(matrix, x.shape[row], x.shape[col])
            x = transforms.apply_transform(x, matrix, channel, self.fill_mode, self.cval)
        if self.channel_shift_range != 0:
            x = transforms.random_channel_shift(x, self.channel_shift_range, channel, rng)
        if self.horizontal_flip and rng.random_sample() < 0.5:
            x = transforms.flip_axis(x, col)
        if self.vertical_flip and rng.random_sample() < 0.5:
            x = transforms.flip_axis(x, row)
        return x

    def _draw_matrix(self, rows: int, columns: int, rng: Any) -> np.ndarray | None:
        """Draw the product of all geometric transformations; None when nothing moves."""

        def draw(limit: float) -> float:
            return rng.uniform(-limit, limit) if limit else 0.0

        theta = np.deg2rad(draw(self.rotation_range))
        down = draw(self.height_shift_range) * rows
        right = draw(self.width_shift_range) * columns
        shear = draw(self.shear_range)
        zoom = transforms.draw_zoom(self.zoom_range, rng)
        matrices = []
        if theta != 0:
            matrices.append(transforms.rotation_matrix(theta))
        if down != 0 or right != 0:
            matrices.append(transforms.shift_matrix(down, right))
        if shear != 0:
            matrices.append(transforms.shear_matrix(shear))
        if zoom != (1, 1):
            matrices.append(transforms.zoom_matrix(*zoom))
        if not matrices:
            return None
        product = matrices[0]
        for matrix in matrices[1:]:
            product = product @ matrix
        return product

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Compute the statistics that standardising by feature and whitening need.

        Args:
            x: images, an array of four axes.
            augment: whether to use randomly transformed images.
            rounds: how often to transform each of them.
            seed: seeds the transformations.

        Raises:
            ValueError: for an array of another number of axes.
        """
        from ...backend import common

        x = np.array(x, dtype=common.floatx())
        if x.ndim != 4:
            raise ValueError(
                f"ImageDataGenerator.fit: expected an array of 4 axes, got the shape {x.shape}"
            )
        if x.shape[self.channel_axis] not in (1, 3, 4):
            warn(
                "ImageDataGenerator.fit: expected 1, 3 or 4 channels on axis "
                f"{self.channel_axis} ({self.data_format}), got the shape {x.shape}"
            )
        if augment:
            rng = np.random if seed is None else np.random.RandomState(seed)
            x = np.stack([self.random_transform(img, rng=rng) for _ in range(rounds) for img in x])
        axes = (0, self.row_axis, self.col_axis)
        shape = [1, 1, 1]
        shape[self.channel_axis - 1] = x.shape[self.channel_axis]
        if self.featurewise_center:
            self.mean = np.mean(x, axis=axes).reshape(shape)
            x = x - self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(x, axis=axes).reshape(shape)
            x = x / (self.std + common.epsilon())
        if self.zca_whitening:
            flat = x.reshape(len(x), -1)
            # ZCA (Bell and Sejnowski, 1997): U diag(1 / sqrt(s + eps)) U^T of the covariance.
            u, s, _ = np.linalg.svd(flat.T @ flat / len(flat))
            self.principal_components = (u / np.sqrt(s + self.zca_epsilon)) @ u.T
