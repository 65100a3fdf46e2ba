"""Connected components against a slow and plain way of finding them."""

import numpy as np
from numpy.typing import NDArray

from app.vision.components import find_components


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


def test_same_components_as_a_flood_fill() -> None:
    for density in (0.0, 0.1, 0.3, 0.45, 0.6, 1.0):
        mask = np.random.default_rng(1).random((31, 47)) < density
        found = find_components(mask)
        numbers = np.arange(len(found))
        parts = [set(map(tuple, np.argwhere(found.mask(numbers == number)).tolist())) for number in numbers]
        assert sorted(map(sorted, parts)) == sorted(map(sorted, flood(mask))), density
        assert np.array_equal(found.mask(numbers >= 0), mask), density
        for number, part in enumerate(parts):
            ys, xs = zip(*part, strict=True)
            box = (found.top[number], found.bottom[number], found.left[number], found.right[number])
            assert box == (min(ys), max(ys) + 1, min(xs), max(xs) + 1), (density, number)
            assert (found.height[number], found.width[number]) == (np.ptp(ys) + 1, np.ptp(xs) + 1)
            assert found.area[number] == len(part), (density, number)
            contact = sum((y == 0) + (y == 30) + (x == 0) + (x == 46) for y, x in part)
            assert found.border_contact[number] == contact, (density, number)


def test_a_spiral_is_one_component() -> None:
    mask = np.zeros((41, 41), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    assert len(find_components(mask)) == 1


def test_the_largest_value_within_each_component() -> None:
    random = np.random.default_rng(2)
    mask, values = random.random((31, 47)) < 0.3, random.integers(0, 256, (31, 47)).astype(np.uint8)
    found = find_components(mask)
    numbers = np.arange(len(found))
    expected = [int(values[found.mask(numbers == number)].max()) for number in numbers]
    assert found.maximum(values).tolist() == expected
