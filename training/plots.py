"""The pictures of a report, each a PNG file made from plain arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.data import Split
from training.evaluate import Evaluation

ERROR_ROWS, ERROR_COLUMNS = 6, 10

# Ticks of the axes.
_LOSSES = [step * 10.0**power for power in range(-4, 2) for step in (1, 2, 5)]
_ACCURACIES = [0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]


def samples(split: Split, path: Path) -> None:
    """The first nine images with their labels, three by three."""
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    for axes, image, label in zip(figure.subplots(3, 3).flat, split.images, split.labels, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(str(label))
        axes.set_axis_off()
    _save(figure, path)


def answers(split: Split, digits: Sequence[int], path: Path) -> None:
    """The first images of a split in a row, each with its label and the answer, which is red for an error."""
    figure = Figure(figsize=(len(digits), 1.5), layout="constrained")
    grid = figure.subplots(1, len(digits), squeeze=False)[0]
    for axes, image, label, digit in zip(grid, split.images, split.labels, digits, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{label}, read\nas {digit}", fontsize=8, color="black" if label == digit else "red")
        axes.set_axis_off()
    _save(figure, path)


def curves(history: Sequence[dict[str, float]], path: Path, ensemble_size: int = 1) -> None:
    """Draw loss and accuracy by epoch, of training and of validation if there was one.

    Args:
        history: a row an epoch.
        path: the picture file to write.
        ensemble_size: networks whose epochs follow each other in the history; each gets lines of its own.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = np.arange(1, len(history) // ensemble_size + 1)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, colour in ((name, "training", "tab:red"), (f"val_{name}", "validation", "tab:green")):
            if key in history[0]:
                # Kept off 0 and 1, which these scales cannot show.
                low, high = (1e-4, None) if name == "loss" else (1e-3, 0.9999)
                values = np.clip([row[key] for row in history], low, high)
                for number, line in enumerate(values.reshape(ensemble_size, -1)):
                    axes.plot(epochs, line, color=colour, label=None if number else label, marker=".")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Losses run over orders of magnitude; so does the distance of accuracies to 1.
        axes.set_yscale("log" if name == "loss" else "logit")
        axes.minorticks_off()
        low, high = axes.get_ylim()
        ticks = [tick for tick in (_LOSSES if name == "loss" else _ACCURACIES) if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" if name == "loss" else f"{tick:.1%}" for tick in ticks])
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def folds(histories: Sequence[Sequence[dict[str, float]]], path: Path) -> None:
    """The curves of all folds: training red, validation green; a panel for loss and one for accuracy."""
    figure = Figure(figsize=(8, 8), layout="constrained")
    for axes, name in zip(figure.subplots(2, 1), ("loss", "accuracy"), strict=True):
        for number, history in enumerate(histories):
            epochs = [row["epoch"] for row in history]
            for key, label, colour in ((name, "training", "red"), (f"val_{name}", "validation", "green")):
                values = [row[key] for row in history]
                axes.plot(epochs, values, color=colour, label=label if number == 0 else None, marker=".", alpha=0.7)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def boxes(accuracies: Mapping[str, Sequence[float]], path: Path) -> None:
    """A box-and-whisker plot a series: the middle half boxed, the median a line, the mean a triangle."""
    figure = Figure(figsize=(2.5 + 2 * len(accuracies), 4.5), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(list(accuracies.values()), tick_labels=list(accuracies), showmeans=True)
    axes.set_ylabel("accuracy on the fold held out")
    axes.yaxis.set_major_formatter("{x:.2%}")
    axes.grid(alpha=0.3, axis="y")
    _save(figure, path)


def confusion(evaluation: Evaluation, path: Path) -> None:
    """The confusion matrix: counts by label and answer. The diagonal is pale so that errors stand out."""
    counts = evaluation.confusion()
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    figure = Figure(figsize=(6.4, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(errors, cmap="Reds", vmax=max(int(errors.max()) * 1.4, 1))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, str(count), ha="center", va="center", fontsize=9 if row != column else 8)
    metrics = evaluation.metrics()
    axes.set(
        xticks=range(10),
        yticks=range(10),
        xlabel="answer",
        ylabel="label",
        title=f"{metrics.correct:,} of {metrics.images:,} correct: {metrics.accuracy:.2%}",
    )
    _save(figure, path)


def reliability(evaluation: Evaluation, path: Path) -> None:
    """The reliability diagram: accuracy by tenths of the confidence, and below it the share of images in each.

    The accuracy of a calibrated network is its confidence: its dots lie on the diagonal.
    """
    bins = evaluation.reliability()
    images = len(evaluation.labels)
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles = (np.arange(10) + 0.5) / 10
    above.bar(middles, [accuracy for _, _, accuracy in bins], width=0.096, color="tab:blue", alpha=0.35)
    above.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="calibrated")
    filled = [(confidence, accuracy) for count, confidence, accuracy in bins if count]
    above.plot(*zip(*filled, strict=True), "o", color="tab:blue", label="mean of a tenth")
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03), xticks=np.arange(11) / 10)
    above.set_title(f"expected calibration error {evaluation.metrics().ece:.2%}")
    above.grid(alpha=0.3)
    above.legend(loc="upper left")
    # On a logarithmic scale, as nearly all of MNIST lies in the last tenth, and its errors in the others.
    below.bar(middles, [count / images for count, _, _ in bins], width=0.096, color="tab:gray")
    below.set(xlabel="confidence", ylabel="share of images", yscale="log", ylim=(0.3 / images, 8))
    for middle, (count, _, _) in zip(middles, bins, strict=True):
        if count:
            below.annotate(
                f"{count / images:.2%}", (middle, count / images), (0, 2), textcoords="offset points",
                ha="center", fontsize=7,
            )  # fmt: skip
    _save(figure, path)


def errors(evaluation: Evaluation, split: Split, path: Path) -> None:
    """The errors, the most confident first: label, answer and its probability over each image."""
    confidence = evaluation.probabilities.max(axis=1)
    errors = np.flatnonzero(~evaluation.correct)
    shown = errors[np.argsort(-confidence[errors], kind="stable")][: ERROR_ROWS * ERROR_COLUMNS]
    width, height = ERROR_COLUMNS * 1.1, max(1, -(-len(shown) // ERROR_COLUMNS)) * 1.35  # inches
    figure = Figure(figsize=(width, height + 0.4))
    axes = figure.add_axes((0, 0, 1, height / (height + 0.4)))  # one for all, as sixty axes take a second to draw
    for place, index in enumerate(shown):
        row, column = divmod(place, ERROR_COLUMNS)
        left, top = column * 1.1 + 0.1, row * 1.35 + 0.35
        axes.imshow(split.images[index], cmap="gray", vmin=0, vmax=255, extent=(left, left + 0.9, top + 0.9, top))
        answer = f"{evaluation.digits[index]} ({confidence[index]:.0%})"
        told = f"{evaluation.labels[index]} read as\n{answer}"
        axes.text(left + 0.45, top - 0.04, told, fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    axes.set_axis_off()
    figure.suptitle(
        f"{len(errors)} errors of {len(split):,}" + (f", the {len(shown)} most confident" * (len(errors) > len(shown)))
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
