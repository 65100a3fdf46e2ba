"""Connected parts against a slow and plain way of finding them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.vision.components import components


def flood(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    parts = []
    while left:
        front, part = [left.pop()], set()
        while front:
            y, x = front.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        parts.append(part)
    return parts


@pytest.mark.parametrize("density", [0.0, 0.1, 0.3, 0.45, 0.6, 1.0])
def test_same_parts_as_a_flood_fill(density: float) -> None:
    mask = np.random.default_rng(1).random((31, 47)) < density
    found = components(mask)
    numbers = np.arange(len(found.area))
    parts = [set(map(tuple, np.argwhere(found.mask(numbers == number)).tolist())) for number in numbers]
    assert sorted(map(sorted, parts)) == sorted(map(sorted, flood(mask)))
    assert np.array_equal(found.mask(numbers >= 0), mask)
    for number, part in enumerate(parts):
        ys, xs = zip(*part, strict=True)
        box = (found.top[number], found.bottom[number], found.left[number], found.right[number])
        assert box == (min(ys), max(ys) + 1, min(xs), max(xs) + 1)
        assert found.area[number] == len(part)
        assert found.contact[number] == sum((y == 0) + (y == 30) + (x == 0) + (x == 46) for y, x in part)


def test_a_spiral_is_one_part() -> None:
    mask = np.zeros((41, 41), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    assert len(components(mask).area) == 1


def test_the_largest_value_within_each_part() -> None:
    random = np.random.default_rng(2)
    mask, values = random.random((31, 47)) < 0.3, random.integers(0, 256, (31, 47)).astype(np.uint8)
    found = components(mask)
    numbers = np.arange(len(found.area))
    expected = [int(values[found.mask(numbers == number)].max()) for number in numbers]
    assert found.most(values).tolist() == expected
