"""Data augmentation, as one Keras layer that runs on any backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from training.recipes import Augmentation

SIDE = 28

Tensor = Any  # of whichever backend runs

# Pixels between the left edges of the digit and of its neighbour; MNIST's digits are at most 20 wide.
MIN_NEIGHBOUR_DISTANCE, MAX_NEIGHBOUR_DISTANCE = 14, 21

# Knots a side of the field of haze.
HAZE_KNOTS = 8


class Augment(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Changes images at random: first how a digit is written (a warp, the pen's width), then what happens to paper.

    Each image is warped by its own affine map and elastic field, composed before sampling so that it is interpolated
    once. Outside the image lies background (0). The result is rounded to whole grey levels, as the network gets them
    when it serves. Active in training only.

    Args:
        augmentation: how much and how often.
        seed: of the layer's random generator.

    Input shape:
        (n, 28, 28, 1), values 0 to 255.

    Output shape:
        The same.
    """

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        super().__init__(dtype="float32", name="augment")
        self.augmentation = augmentation
        self.random = keras.random.SeedGenerator(seed)
        self.spread = _spline_matrix(augmentation.elastic_grid)
        self.haze = _spline_matrix(HAZE_KNOTS)
        centre = (SIDE - 1) / 2
        y, x = np.meshgrid(np.arange(SIDE) - centre, np.arange(SIDE) - centre, indexing="ij")
        self.y, self.x = y.astype("float32")[None], x.astype("float32")[None]

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Change every image in its own way."""
        if not training:
            return images
        images = self._warp(ops.cast(images, "float32"))
        strokes = (self._pen, self._hollow, self._neighbour, self._line)
        for change in (*strokes, self._blur, self._coarsen, self._harden, self._noise):
            images = change(images)
        return ops.round(self._erase(images))

    def cool_down(self) -> None:
        """Change fewer images from now on. A function that was compiled with this layer must be compiled again."""
        self.augmentation = self.augmentation.cooled_down()

    def _chosen(self, images: Tensor, chance: float) -> Tensor:
        """The images that are changed, bool (n, 1, 1, 1)."""
        return self._uniform(ops.shape(images)[0], 0.0, 1.0)[..., None] < chance

    def _uniform(self, count: Tensor, low: float, high: float) -> Tensor:
        return keras.random.uniform((count, 1, 1), low, high, seed=self.random)

    def _warp(self, images: Tensor) -> Tensor:
        a, count = self.augmentation, ops.shape(images)[0]
        angle = self._uniform(count, -np.deg2rad(a.rotate), np.deg2rad(a.rotate))
        zoom_x, zoom_y = self._uniform(count, *a.zoom), self._uniform(count, *a.zoom)
        shear = self._uniform(count, -a.shear, a.shear)
        # From a pixel of the new image back to its place in the old one: shear, rotation, zoom, shift.
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

    def _pen(self, images: Tensor) -> Tensor:
        """Strokes that are thicker or thinner by up to a pixel on either side."""
        if not self.augmentation.pen:
            return images
        change = self._uniform(ops.shape(images)[0], -1.0, 1.0)[..., None]
        highest, lowest = _neighbourhood(images)
        changed = images + ops.relu(change) * (highest - images) + 0.6 * ops.relu(-change) * (lowest - images)
        return ops.where(self._chosen(images, self.augmentation.pen), changed, images)

    def _hollow(self, images: Tensor) -> Tensor:
        """Only the outline, inside the stroke or on both sides of its edge: block letters, edges found by a filter."""
        if not self.augmentation.hollow:
            return images
        highest, lowest = _neighbourhood(images)
        outside = self._uniform(ops.shape(images)[0], 0.0, 1.0)[..., None]
        outline = images + outside * (highest - images) - lowest
        return ops.where(self._chosen(images, self.augmentation.hollow), outline, images)

    def _neighbour(self, images: Tensor) -> Tensor:
        """A part of another digit at the left or right edge."""
        if not self.augmentation.neighbour:
            return images
        count = ops.shape(images)[0]
        others = ops.roll(images, 1, axis=0)
        aside = ops.pad(others, [[0, 0], [0, 0], [MAX_NEIGHBOUR_DISTANCE, MAX_NEIGHBOUR_DISTANCE], [0, 0]])
        offset = self._whole(MIN_NEIGHBOUR_DISTANCE, MAX_NEIGHBOUR_DISTANCE)
        start = ops.where(self._coin(), MAX_NEIGHBOUR_DISTANCE - offset, MAX_NEIGHBOUR_DISTANCE + offset)
        part = ops.slice(aside, (0, 0, start, 0), (count, SIDE, SIDE, 1))
        return ops.where(self._chosen(images, self.augmentation.neighbour), ops.maximum(images, part), images)

    def _line(self, images: Tensor) -> Tensor:
        """A line across: straight or zigzag, whole, dashed or broken off."""
        if not self.augmentation.line:
            return images
        count, half = ops.shape(images)[0], SIDE / 2
        angle = self._uniform(count, 0.0, np.pi)
        x, y = self.x - self._uniform(count, -half, half), self.y - self._uniform(count, -half, half)
        along, across = ops.cos(angle) * x + ops.sin(angle) * y, ops.cos(angle) * y - ops.sin(angle) * x
        phase = along / self._uniform(count, 3.0, 12.0)
        across += ops.relu(self._uniform(count, -6.0, 6.0)) * _zigzag(phase)
        line = ops.clip(self._uniform(count, 0.5, 2.0) - ops.abs(across), 0.0, 1.0) * self._uniform(count, 80.0, 255.0)
        dashes = self._uniform(count, -1.0, 1.0)
        gap = (ops.sin(along * self._uniform(count, 0.8, 2.5)) < 0) & (dashes > 0)
        end = ops.where(self._uniform(count, 0.0, 1.0) < 0.5, 2.0 * SIDE, self._uniform(count, 0.0, half))
        line = ops.where(gap | (along > end), 0.0, line)[..., None]
        return ops.where(self._chosen(images, self.augmentation.line), ops.maximum(images, line), images)

    def _blur(self, images: Tensor) -> Tensor:
        """Out of focus or moved: a Gaussian of random width and height."""
        if not self.augmentation.blur:
            return images
        count = ops.shape(images)[0]
        over_rows, over_columns = self._blur_matrices(count), self._blur_matrices(count)
        blurred = ops.matmul(ops.matmul(over_rows, images[..., 0]), ops.transpose(over_columns, (0, 2, 1)))[..., None]
        return ops.where(self._chosen(images, self.augmentation.blur), blurred, images)

    def _blur_matrices(self, count: Tensor) -> Tensor:
        """The weights, (n, 28, 28), of all pixels of a row or column for each pixel of it."""
        width = self._uniform(count, 0.3, 1.8)
        weights = ops.exp(-(((self.x - ops.transpose(self.x, (0, 2, 1))) / width) ** 2) / 2)
        return weights / ops.sum(weights, axis=2, keepdims=True)

    def _coarsen(self, images: Tensor) -> Tensor:
        """Reduced to half the resolution and enlarged again."""
        if not self.augmentation.coarse:
            return images
        small = ops.average_pool(images, 2, data_format="channels_last")
        coarse = ops.image.resize(small, (SIDE, SIDE), "bilinear", data_format="channels_last")
        return ops.where(self._chosen(images, self.augmentation.coarse), coarse, images)

    def _harden(self, images: Tensor) -> Tensor:
        """Only full foreground and background, as drawing boxes and thresholds give it."""
        if not self.augmentation.hard:
            return images
        hard = ops.where(images > self._uniform(ops.shape(images)[0], 30.0, 180.0)[..., None], 255.0, 0.0)
        return ops.where(self._chosen(images, self.augmentation.hard), hard, images)

    def _noise(self, images: Tensor) -> Tensor:
        """Weaker foreground under haze and grain, with single pixels black or white."""
        if not self.augmentation.noise:
            return images
        count = ops.shape(images)[0]
        grain = keras.random.uniform(ops.shape(images), seed=self.random)
        strength = self._uniform(count, 0.3, 1.0)[..., None]
        amplitude, lost = self._uniform(count, 0.0, 160.0)[..., None], self._uniform(count, -0.15, 0.15)[..., None]
        knots = keras.random.uniform((count, HAZE_KNOTS, HAZE_KNOTS), -0.5, 0.5, seed=self.random)
        haze = ops.matmul(ops.matmul(self.haze, knots), ops.transpose(self.haze))[..., None]
        haze = ops.relu(haze) * ops.relu(self._uniform(count, -150.0, 150.0))[..., None]
        noisy = strength * images + haze + amplitude * (grain - 0.5)
        noisy = ops.where(grain < lost, 255.0, ops.where(grain > 1 - lost, 0.0, noisy))
        return ops.where(self._chosen(images, self.augmentation.noise), ops.clip(noisy, 0.0, 255.0), images)

    def _erase(self, images: Tensor) -> Tensor:
        """A box of the image is emptied."""
        if not self.augmentation.erase:
            return images
        count, half = ops.shape(images)[0], (SIDE - 1) / 2
        inside = ops.abs(self.x - self._uniform(count, -half, half)) < self._uniform(count, 1.5, 4.5)
        inside &= ops.abs(self.y - self._uniform(count, -half, half)) < self._uniform(count, 1.5, 4.5)
        inside &= self._uniform(count, 0.0, 1.0) < self.augmentation.erase
        return ops.where(inside[..., None], 0.0, images)

    def _number(self, low: float, high: float) -> Tensor:
        """One number for the whole batch."""
        return keras.random.uniform((), low, high, seed=self.random)

    def _whole(self, low: int, high: int) -> Tensor:
        return ops.cast(ops.floor(self._number(low, high + 1)), "int32")

    def _coin(self) -> Tensor:
        return self._number(0.0, 1.0) < 0.5


def _zigzag(phase: Tensor) -> Tensor:
    """From -1 up to 1 and down again between whole numbers, without a jump."""
    return 4 * ops.abs(phase - ops.floor(phase + 0.5)) - 1


def _neighbourhood(images: Tensor) -> tuple[Tensor, Tensor]:
    """The highest and the lowest of each pixel and the eight around it, with background outside.

    By shifting whole images, as pooling is five times slower on a CPU.
    """
    return _of_nine(ops.maximum, images), _of_nine(ops.minimum, images)


def _of_nine(choose: Callable[[Tensor, Tensor], Tensor], images: Tensor) -> Tensor:
    padded = ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    of_three = choose(choose(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    return choose(choose(of_three[:, :, :-2], of_three[:, :, 1:-1]), of_three[:, :, 2:])


def _spline_matrix(knots: int) -> NDArray[np.float32]:
    """Cubic B-spline weights, (28, knots), of knots spread evenly over the image's side."""
    place = np.linspace(0, knots - 1, SIDE)[:, None]
    distance = np.abs(place - np.arange(knots)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    # Scaled so that knots of unit variance give a field of unit variance everywhere.
    scaled: NDArray[np.float32] = (weights / np.sqrt((weights**2).sum(1, keepdims=True))).astype("float32")
    return scaled


def _sample(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear values of (n, 28, 28, 1) images at centre-based coordinates (n, 28, 28); 0 outside."""
    count, wide = ops.shape(images)[0], SIDE + 2  # one pixel of background around, so that edges fade out
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
