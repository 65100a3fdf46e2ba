"""A recipe's network layer by layer: shapes, parameters, MACs and receptive fields."""

import math
from dataclasses import dataclass

from training import markdown
from training.errors import TrainingError
from training.recipes import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Recipe, Softmax

SIDE = 28


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        layer: its name.
        shape: of its output, without the batch.
        parameters: how many; batch normalisation counts four a filter, two of which are trained.
        macs: multiply-accumulate operations for one image.
        receptive_field: side of the square of input pixels that one output value depends on; 28 for all of them.
    """

    layer: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: int


def describe(recipe: Recipe) -> list[Row]:
    """Every layer of one network of the recipe, in order."""
    rows: list[Row] = []
    shape: tuple[int, ...] = (SIDE, SIDE, 1)
    field, jump = 1, 1  # the receptive field, and the input pixels between neighbouring values
    for layer in recipe.layers:
        name, shape, parameters, macs, window, stride = _step(layer, shape)
        field = SIDE if window is None else min(SIDE, field + (window - 1) * jump)
        jump *= stride
        rows.append(Row(name, shape, parameters, macs, field))
    return rows


def table(recipe: Recipe) -> str:
    """The layers as text, with their sums.

    Raises:
        TrainingError: when a function builds the network.
    """
    if recipe.model:
        raise TrainingError(f"{recipe.model} builds this network; its own `summary()` describes it")
    rows = describe(recipe)
    parts = [f"{recipe.name}: {recipe.summary}", _table(rows)]
    if recipe.ensemble_size > 1:
        parameters, macs = (recipe.ensemble_size * sum(getattr(row, n) for row in rows) for n in ("parameters", "macs"))
        asked = "all of them answer always" if recipe.tta_threshold is None else "for most images the first one answers"
        parts.append(
            f"ensemble of {recipe.ensemble_size} such networks: {parameters:,} parameters, {macs:,} MACs; {asked}"
        )
    if recipe.first_stage:
        parts += [
            f"first stage of a cascade, whose answer stands from a confidence of {recipe.cascade_threshold} on:",
            _table(describe(recipe.of_first_stage())),
        ]
    return "\n".join(parts)


def _table(rows: list[Row]) -> str:
    parameters, macs = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    total = Row("total", (), parameters, macs, rows[-1].receptive_field)
    return markdown.table(
        ("layer", "output", "parameters", "MACs", "receptive field"),
        [
            (
                row.layer,
                " x ".join(map(str, row.shape)),
                f"{row.parameters:,}",
                f"{row.macs:,}",
                f"{row.receptive_field} x {row.receptive_field}",
            )
            for row in (*rows, total)
        ],
    )


def _step(layer: Layer, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], int, int, int | None, int]:
    """Name, output shape, parameters, MACs, window (None for all of its input) and stride of one layer."""
    match layer:
        case Conv(filters, window, stride, padding, batch_norm, activation):
            side = -(-shape[0] // stride) if padding == "same" else (shape[0] - window) // stride + 1
            kernel = window * window * shape[2] * filters
            name = f"conv {window}x{window}" + (f" /{stride}" if stride > 1 else "") + (", norm" if batch_norm else "")
            name += f", {activation}" if activation not in (None, "linear") else ""
            return (
                name,
                (side, side, filters),
                kernel + filters * (4 if batch_norm else 1),
                side * side * kernel,
                window,
                stride,
            )
        case MaxPool(window):
            side = shape[0] // window
            return f"max-pool {window}x{window}", (side, side, shape[2]), 0, 0, window, window
        case Flatten():
            return "flatten", (math.prod(shape),), 0, 0, 1, 1
        case Dropout(rate):
            return f"dropout {rate:g}", shape, 0, 0, 1, 1
        case Dense(units, activation):
            name = "dense" + (f", {activation}" if activation not in (None, "linear") else "")
            return name, (units,), shape[0] * units + units, shape[0] * units, None, 1
        case Softmax():
            return "softmax", shape, 0, 0, 1 if len(shape) == 3 else None, 1
