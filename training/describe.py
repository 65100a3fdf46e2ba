"""A recipe's network layer by layer: shapes, parameters, MACs and receptive fields."""

from dataclasses import dataclass

from training.recipes import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Recipe, Softmax

SIDE = 28


@dataclass(frozen=True)
class Row:
    """One layer. shape: of its output, without the batch. macs: for one image.

    field: side of the square of input pixels that one output value sees; 28 where it sees all.
    """

    layer: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    field: int


def describe(recipe: Recipe) -> list[Row]:
    """Every layer of the recipe in order, of one member.

    Batch normalisation counts four parameters a filter, two of them learned.
    """
    rows: list[Row] = []
    shape: tuple[int, ...] = (SIDE, SIDE, 1)
    field, jump = 1, 1  # pixels that a value sees, and pixels between neighbouring values
    for layer in recipe.layers:
        name, shape, parameters, macs, window, stride = _step(layer, shape)
        field = SIDE if window is None else min(SIDE, field + (window - 1) * jump)
        jump *= stride
        rows.append(Row(name, shape, parameters, macs, field))
    return rows


def table(recipe: Recipe) -> str:
    """The rows as text, with their sums."""
    rows = describe(recipe)
    lines = _lines(rows)
    if recipe.ensemble_size > 1:
        parameters, macs = (
            recipe.ensemble_size * sum(getattr(row, what) for row in rows) for what in ("parameters", "macs")
        )
        asked = (
            "all of them are always asked" if recipe.tta_threshold is None else "most images need the first one alone"
        )
        lines.append(
            f"{recipe.ensemble_size} such networks are trained: {parameters:,} parameters, {macs:,} MACs; {asked}"
        )
    if recipe.first_stage:
        lines += [
            "a scout goes before them, whose answer stands where it is sure:",
            *_lines(describe(recipe.of_first_stage())),
        ]
    return "\n".join([f"{recipe.name}: {recipe.summary}", *lines])


def _lines(rows: list[Row]) -> list[str]:
    cells = [("layer", "output", "parameters", "MACs", "field")]
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        cells.append((row.layer, shape, f"{row.parameters:,}", f"{row.macs:,}", f"{row.field} x {row.field}"))
    cells.append(
        (
            "all",
            "",
            f"{sum(row.parameters for row in rows):,}",
            f"{sum(row.macs for row in rows):,}",
            f"{rows[-1].field} x {rows[-1].field}",
        )
    )
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]


def _step(layer: Layer, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], int, int, int | None, int]:
    """Name, output shape, parameters, MACs, window (None: all of its input) and stride of one layer."""
    match layer:
        case Conv(filters, window, stride, padding, batch_norm, activation):
            side = -(-shape[0] // stride) if padding == "same" else (shape[0] - window) // stride + 1
            kernel = window * window * shape[2] * filters
            name = f"conv {window}x{window}" + (f" /{stride}" if stride > 1 else "") + (", norm" if batch_norm else "")
            name += f", {activation}" if activation else ""
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
            count = 1
            for size in shape:
                count *= size
            return "flatten", (count,), 0, 0, 1, 1
        case Dropout(rate):
            return f"dropout {rate:g}", shape, 0, 0, 1, 1
        case Dense(units, activation):
            name = "dense" + (f", {activation}" if activation else "")
            return name, (units,), shape[0] * units + units, shape[0] * units, None, 1
        case Softmax():
            return "softmax", shape, 0, 0, 1 if len(shape) == 3 else None, 1
