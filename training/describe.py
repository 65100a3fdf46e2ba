"""A recipe's network layer by layer: shapes, parameters, multiply-adds and receptive fields."""

from dataclasses import dataclass

from training.recipes import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Recipe, Softmax

SIDE = 28


@dataclass(frozen=True)
class Row:
    """One layer. shape: of its output, without the batch. multiply_adds: for one image.

    field: side of the square of input pixels that one output value sees; 28 where it sees all.
    """

    layer: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    field: int


def describe(recipe: Recipe) -> list[Row]:
    """Every layer of the recipe in order, of one member.

    Batch normalisation counts four parameters a filter, two of them learned.
    """
    rows: list[Row] = []
    shape: tuple[int, ...] = (SIDE, SIDE, 1)
    field, jump = 1, 1  # pixels that a value sees, and pixels between neighbouring values
    for layer in recipe.layers:
        name, shape, parameters, multiply_adds, window, stride = _step(layer, shape)
        field = SIDE if window is None else min(SIDE, field + (window - 1) * jump)
        jump *= stride
        rows.append(Row(name, shape, parameters, multiply_adds, field))
    return rows


def table(recipe: Recipe) -> str:
    """The rows as text, with their sums."""
    rows = describe(recipe)
    lines = _lines(rows)
    if recipe.members > 1:
        parameters, multiply_adds = (
            recipe.members * sum(getattr(row, what) for row in rows) for what in ("parameters", "multiply_adds")
        )
        asked = "all of them are always asked" if recipe.second_look is None else "most images need the first one alone"
        lines.append(
            f"{recipe.members} such networks are trained: {parameters:,} parameters, {multiply_adds:,} multiply-adds; "
            f"{asked}"
        )
    if recipe.scout:
        lines += [
            "a scout goes before them, whose answer stands where it is sure:",
            *_lines(describe(recipe.of_scout())),
        ]
    return "\n".join([f"{recipe.name}: {recipe.summary}", *lines])


def _lines(rows: list[Row]) -> list[str]:
    cells = [("layer", "output", "parameters", "multiply-adds", "field")]
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        cells.append((row.layer, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}", f"{row.field} x {row.field}"))
    cells.append(
        (
            "all",
            "",
            f"{sum(row.parameters for row in rows):,}",
            f"{sum(row.multiply_adds for row in rows):,}",
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
    """Name, output shape, parameters, multiply-adds, window (None: all of its input) and stride of one layer."""
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
