"""Random views of digits, as one Keras layer that runs on any backend."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from training.recipes import Augmentation

SIDE = 28

Tensor = Any  # of whichever backend runs


class Augment(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Warps each image of a batch by its own random affine map and elastic field, sampled once.

    Both are composed before sampling, so an image is interpolated a single time. Outside the image lies
    empty ground (0). Takes and gives (n, 28, 28, 1) with values 0 to 255; the result is rounded to whole
    grey levels, which is what the network meets when it serves. Active in training only.
    """

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        super().__init__(dtype="float32", name="augment")
        self.augmentation = augmentation
        self.random = keras.random.SeedGenerator(seed)
        self.spread = _spline_matrix(augmentation.elastic_grid)
        centre = (SIDE - 1) / 2
        y, x = np.meshgrid(np.arange(SIDE) - centre, np.arange(SIDE) - centre, indexing="ij")
        self.y, self.x = y.astype("float32")[None], x.astype("float32")[None]

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        if not training:
            return images
        images = ops.cast(images, "float32")
        return ops.round(self._erase(self._warp(images)))

    def _uniform(self, count: Tensor, low: float, high: float) -> Tensor:
        return keras.random.uniform((count, 1, 1), low, high, seed=self.random)

    def _warp(self, images: Tensor) -> Tensor:
        a, count = self.augmentation, ops.shape(images)[0]
        angle = self._uniform(count, -np.deg2rad(a.rotate), np.deg2rad(a.rotate))
        zoom_x, zoom_y = self._uniform(count, *a.zoom), self._uniform(count, *a.zoom)
        shear = self._uniform(count, -a.shear, a.shear)
        # From a pixel of the new image back to its place in the old one: slant, turn, size, shift.
        x = self.x + shear * self.y
        cos, sin = ops.cos(angle), ops.sin(angle)
        turned_x, turned_y = cos * x - sin * self.y, sin * x + cos * self.y
        source_x = turned_x / zoom_x + self._uniform(count, -a.shift, a.shift)
        source_y = turned_y / zoom_y + self._uniform(count, -a.shift, a.shift)
        if a.elastic:
            knots = keras.random.normal((count, 2, a.elastic_grid, a.elastic_grid), seed=self.random)
            field = a.elastic * ops.matmul(ops.matmul(self.spread, knots), ops.transpose(self.spread))
            source_x, source_y = source_x + field[:, 0], source_y + field[:, 1]
        return _sample(images, source_x, source_y)

    def _erase(self, images: Tensor) -> Tensor:
        if not self.augmentation.erase:
            return images
        count, half = ops.shape(images)[0], (SIDE - 1) / 2
        inside = ops.abs(self.x - self._uniform(count, -half, half)) < self._uniform(count, 1.5, 4.5)
        inside &= ops.abs(self.y - self._uniform(count, -half, half)) < self._uniform(count, 1.5, 4.5)
        inside &= self._uniform(count, 0.0, 1.0) < self.augmentation.erase
        return ops.where(inside[..., None], 0.0, images)


def _spline_matrix(knots: int) -> NDArray[np.float32]:
    """(28, knots) cubic B-spline weights that spread knots evenly over the image's side."""
    place = np.linspace(0, knots - 1, SIDE)[:, None]
    distance = np.abs(place - np.arange(knots)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    # Scaled so that knots of unit variance give displacements of unit variance everywhere.
    scaled: NDArray[np.float32] = (weights / np.sqrt((weights**2).sum(1, keepdims=True))).astype("float32")
    return scaled


def _sample(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear values of (n, 28, 28, 1) images at centre-based coordinates (n, 28, 28); 0 outside."""
    count, wide = ops.shape(images)[0], SIDE + 2  # one pixel of ground around, so that edges fade out
    flat = ops.reshape(ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), (-1,))
    x = ops.clip(x + (SIDE - 1) / 2 + 1, 0.0, wide - 1.001)
    y = ops.clip(y + (SIDE - 1) / 2 + 1, 0.0, wide - 1.001)
    left, top = ops.floor(x), ops.floor(y)
    right_share, lower_share = x - left, y - top
    start = ops.reshape(ops.arange(count, dtype="int32") * wide * wide, (-1, 1, 1))
    corner = start + ops.cast(top, "int32") * wide + ops.cast(left, "int32")
    upper = ops.take(flat, corner) * (1 - right_share) + ops.take(flat, corner + 1) * right_share
    lower = ops.take(flat, corner + wide) * (1 - right_share) + ops.take(flat, corner + wide + 1) * right_share
    return (upper * (1 - lower_share) + lower * lower_share)[..., None]
