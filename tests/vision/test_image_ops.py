"""Operations on grey images, each against a slow and plain way of doing it."""

import numpy as np

from app.vision.image_ops import histogram, maximum_filter, otsu_threshold, quantile, runs, without_runs

RANDOM = np.random.default_rng(1)


def test_otsu_divides_two_levels() -> None:
    assert 10 <= otsu_threshold(histogram(np.array([[10] * 50 + [200] * 5], np.uint8))) < 200


def test_otsu_leaves_the_least_variance_within_the_two_classes() -> None:
    values = np.concatenate([RANDOM.normal(80, 20, 900), RANDOM.normal(170, 15, 300)]).clip(0, 255).astype(np.uint8)

    def within(threshold: int) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        return float(low.var() * low.size + high.var() * high.size) if low.size and high.size else np.inf

    assert within(otsu_threshold(histogram(values))) == min(map(within, range(255)))


def test_quantile() -> None:
    values = RANDOM.integers(0, 256, 999).astype(np.uint8)
    for share in (0.001, 0.25, 0.5, 0.999):
        assert quantile(histogram(values), share) == np.sort(values)[int(np.ceil(share * 999)) - 1], share


def test_maximum_filter() -> None:
    for shape in ((9, 14), (1, 5), (30, 2)):
        image = RANDOM.integers(0, 256, shape).astype(np.uint8)
        for window in (1, 3, 7, 17):
            margin = window // 2
            views = np.lib.stride_tricks.sliding_window_view(np.pad(image, margin, mode="edge"), (window, window))
            assert np.array_equal(maximum_filter(image, window), views.max(axis=(2, 3))), (shape, window)


def test_runs_come_and_go() -> None:
    mask = RANDOM.random((23, 31)) < 0.5
    starts, ends = runs(mask)
    assert int((ends - starts).sum()) == mask.sum()
    assert not without_runs(mask, starts, ends).any()
    longer = ends - starts > 1
    neighbours = np.pad(mask, ((0, 0), (1, 1)))
    alone = mask & ~neighbours[:, :-2] & ~neighbours[:, 2:]
    assert np.array_equal(without_runs(mask, starts[longer], ends[longer]), alone)
