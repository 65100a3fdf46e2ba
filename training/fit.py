"""Trains a recipe's network, with a checkpoint after every epoch from which a killed run resumes."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.retraining.progress import Progress
from training.augment import Augment
from training.data import Split
from training.errors import TrainingError
from training.lock import locked
from training.network import Weights, build, join, scale_logits
from training.recipes import Optimiser, Recipe
from training.synthetic import digits, ood

Epoch = dict[str, float]

# Epochs after which synthetic pictures are made anew, where a recipe has any. It takes seven seconds on one core.
EPOCHS_PER_SYNTHESIS = 3

CHECKPOINT, SETTINGS = "checkpoint.npz", "run.json"

# Folders of the networks of an ensemble or a cascade.
NETWORK, FIRST_STAGE = "network-{}", "first-stage"


@dataclass(frozen=True)
class Trained:
    """What a run ends as.

    Attributes:
        network: in float32, without optimiser state.
        history: one row of figures an epoch.
        first_stage: of the cascade, where there is one.
    """

    network: keras.Model
    history: list[Epoch]
    first_stage: "Trained | None" = None

    @property
    def seconds(self) -> float:
        """The time that all of it took."""
        return sum(row["seconds"] for row in self.history) + (self.first_stage.seconds if self.first_stage else 0)


def fit(
    recipe: Recipe,
    train: Split,
    validation: Split | None,
    run: Path,
    *,
    seed: int,
    precision: str = "float32",
    weights: Weights | None = None,
    first_stage: Weights | None = None,
    stop_after: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train a recipe; resume from the checkpoint in ``run`` where there is one.

    The order of the images, augmentation, dropout and initial weights follow from ``seed`` alone and are part of the
    checkpoint, so a run gives the same network twice on one machine, interrupted or not. Each network of an ensemble is
    trained in a folder of its own in ``run``, with a seed that no other run of the recipe has; so is the first stage of
    a cascade.

    Args:
        recipe: what to train, and how.
        train: the images to learn from.
        validation: measured after every epoch, never learned from.
        run: the folder of the checkpoints.
        seed: of everything random.
        precision: a Keras dtype policy.
        weights: what the network begins with, in Keras's order, instead of random weights.
        first_stage: the same for the first stage.
        stop_after: return the networks as they are after this many epochs.
        report: is called with the progress after every batch.

    Raises:
        TrainingError: when ``run`` holds a run with other settings or is in use, or ``weights`` do not fit.
    """
    one = functools.partial(_one, train=train, validation=validation, precision=precision, stop_after=stop_after)
    told = functools.partial(_WholeProgress, report, networks=recipe.ensemble_size + bool(recipe.first_stage))
    if recipe.ensemble_size == 1:
        trained = one(recipe.of_one(), run, seed=seed, weights=weights, name=recipe.name, report=told(number=0))
    else:
        share = len(weights or []) // recipe.ensemble_size
        networks = [
            one(
                recipe.of_one(),
                run / NETWORK.format(number),
                seed=seed * recipe.ensemble_size + number,
                weights=weights and weights[number * share : (number + 1) * share],
                name=NETWORK.format(number),
                report=told(number=number),
            )
            for number in range(recipe.ensemble_size)
        ]
        history = [row for trained in networks for row in trained.history]
        trained = Trained(
            join([trained.network for trained in networks], recipe.name),
            [row | {"epoch": number} for number, row in enumerate(history, start=1)],
        )
    if not recipe.first_stage:
        return trained
    trained_first_stage = one(
        recipe.of_first_stage(),
        run / FIRST_STAGE,
        seed=seed,
        weights=first_stage,
        name=FIRST_STAGE,
        report=told(number=recipe.ensemble_size),
    )
    return dataclasses.replace(trained, first_stage=trained_first_stage)


def _one(
    recipe: Recipe,
    run: Path,
    *,
    train: Split,
    validation: Split | None,
    seed: int,
    precision: str,
    weights: Weights | None,
    stop_after: int | None,
    name: str,
    report: Callable[[Progress], None],
) -> Trained:
    """Train one network of the ensemble, the first stage, or the only network."""
    make_deterministic(seed)
    run.mkdir(parents=True, exist_ok=True)
    settings = _settings(recipe, train, validation, seed=seed, precision=precision, weights=weights)
    epochs = min(stop_after or recipe.epochs, recipe.epochs)
    with _held(run, settings):
        network = build(recipe, precision=precision, dropout_seed=seed, as_matmul=True)
        if weights is not None:
            try:
                network.set_weights(scale_logits(weights, recipe.temperature))
            except ValueError:
                raise TrainingError("the weights to begin with are not those of the recipe's network") from None
        augment = [Augment(recipe.augmentation, seed)] if recipe.augmentation else []
        learner = keras.Sequential([keras.Input((28, 28, 1), dtype="uint8"), *augment, network])
        batches = -(-(len(train) + sum(_synthetic_counts(recipe, train))) // recipe.batch_size)
        learner.compile(
            optimizer=_optimiser(recipe.optimiser, steps=batches * (recipe.epochs - recipe.cooldown_epochs)),
            loss=_loss(recipe),
            metrics=[_Accuracy()],
            jit_compile=False,  # XLA's convolutions can be slow on a CPU
        )
        learner.optimizer.build(learner.trainable_variables)
        state = _State(learner, run / CHECKPOINT)
        state.restore()

        held_out = (
            (validation.images[..., None], keras.utils.to_categorical(validation.labels, 10)) if validation else None
        )
        progress = _Reporter(report, epochs, batches)
        first, cooldown = len(state.history), recipe.epochs - recipe.cooldown_epochs
        for epoch in range(first, epochs):
            started = time.monotonic()
            if augment and epoch == max(first, cooldown):
                augment[0].cool_down()
                learner.make_train_function(force=True)
            if epoch == first or epoch % EPOCHS_PER_SYNTHESIS == 0:
                images, targets = _training_set(recipe, train, [seed, epoch // EPOCHS_PER_SYNTHESIS])
            order = np.random.default_rng([seed, epoch]).permutation(len(images))
            logs = learner.fit(
                images[order],
                targets[order],
                batch_size=recipe.batch_size,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                validation_data=held_out,
                validation_batch_size=500,
                callbacks=[progress],
                verbose=0,
            ).history
            row = {"epoch": epoch + 1} | {name: float(values[0]) for name, values in sorted(logs.items())}
            state.advance(row | {"seconds": round(time.monotonic() - started, 2)})

        final = build(recipe, dropout_seed=seed, name=name)
        final.set_weights(scale_logits(network.get_weights(), 1 / recipe.temperature))
        return Trained(final, state.history)


def _training_set(recipe: Recipe, train: Split, seed: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Everything that is learned from: images (n, 28, 28, 1), and targets (n, 10), all 0.1 where there is no digit."""
    digit_count, ood_count = _synthetic_counts(recipe, train)
    synthetic, without_digit = digits.make(digit_count, seed), ood.make(ood_count, train.images, seed)
    labels = np.concatenate([train.labels, synthetic.labels])
    targets = np.concatenate([keras.utils.to_categorical(labels, 10), np.full((ood_count, 10), 0.1)])
    return np.concatenate([train.images, synthetic.images, without_digit])[..., None], targets.astype("float32")


def _synthetic_counts(recipe: Recipe, train: Split) -> tuple[int, int]:
    """How many synthetic digits, and how many pictures without a digit, are learned too."""
    return round(recipe.synthetic_share * len(train)), round(recipe.ood_share * len(train))


class _Accuracy(keras.metrics.Mean):  # type: ignore[misc]  # Keras has no types
    """The share of digits read correctly; pictures without a digit do not count."""

    def __init__(self) -> None:
        super().__init__(name="accuracy")

    def update_state(self, targets: Any, probabilities: Any, sample_weight: None = None) -> None:
        correct = keras.ops.argmax(targets, axis=-1) == keras.ops.argmax(probabilities, axis=-1)
        super().update_state(correct, sample_weight=keras.ops.max(targets, axis=-1) > 0.5)


def make_deterministic(seed: int) -> None:
    """Seed Python, numpy and the backend, and choose the backend's deterministic operations."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()


class _State:
    """Everything that the next epoch depends on, in one file that is replaced whole."""

    def __init__(self, learner: keras.Model, path: Path) -> None:
        self.learner, self.path = learner, path
        self.history: list[Epoch] = []

    def _variables(self) -> list[keras.Variable]:
        # learner.variables also holds the seed generators' states, without which a resumed run would differ.
        return [*self.learner.variables, *self.learner.optimizer.variables]

    def restore(self) -> None:
        """Resume where the last epoch ended, if there was one."""
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file, np.load(file) as saved:
                for index, variable in enumerate(self._variables()):
                    variable.assign(saved[f"variable_{index}"])
                self.history = json.loads(str(saved["history"]))
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
            raise TrainingError(f"{self.path} is damaged; pass --fresh to start over") from None

    def advance(self, row: Epoch) -> None:
        """Save the state after an epoch."""
        self.history.append(row)
        arrays = {f"variable_{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, history=np.array(json.dumps(self.history)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def _settings(
    recipe: Recipe,
    train: Split,
    validation: Split | None,
    *,
    seed: int,
    precision: str,
    weights: Weights | None,
) -> dict[str, Any]:
    """Everything that decides what a run ends as."""
    start = None if weights is None else hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    return {
        "recipe": recipe.digest(),
        "seed": seed,
        "precision": precision,
        "train": train.digest(),
        "validation": validation.digest() if validation else None,
        "backend": keras.backend.backend(),
        "start": start,
    }


@contextlib.contextmanager
def _held(run: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Hold a run's folder for this process, and make sure that the run found there is this one."""
    with locked(run):
        path = run / SETTINGS
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(settings, indent=2))
            temporary.replace(path)
        try:
            found = json.loads(path.read_text())
        except ValueError:
            raise TrainingError(f"{path} is damaged; pass --fresh to start over") from None
        if found != settings:
            other = ", ".join(sorted(name for name in settings if found.get(name) != settings[name]))
            raise TrainingError(
                f"{run} holds a run that differs in: {other}. Choose another folder with --run, "
                "or pass --fresh to start over there"
            )
        yield


def _optimiser(settings: Optimiser, *, steps: int) -> keras.Optimizer:
    options: dict[str, Any] = {"learning_rate": _learning_rate(settings, steps)}
    if settings.momentum is not None:
        options |= {"momentum": settings.momentum, "nesterov": True}
    if settings.weight_decay is not None:
        options["weight_decay"] = settings.weight_decay
    kind = getattr(keras.optimizers, settings.name, None)
    if not isinstance(kind, type) or not issubclass(kind, keras.optimizers.Optimizer):
        raise TrainingError(f"Keras has no optimiser {settings.name!r}")
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"the optimiser {settings.name}: {error}") from None


def _learning_rate(settings: Optimiser, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if settings.schedule == "constant":
        return settings.learning_rate
    warmup = int(steps * settings.warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate * 0.01,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
        decay_steps=steps - warmup,
        alpha=settings.min_learning_rate / settings.learning_rate,
    )


def _loss(recipe: Recipe) -> Any:
    if recipe.loss == "categorical_crossentropy":
        return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    try:
        return keras.losses.get(recipe.loss)
    except ValueError:
        raise TrainingError(f"Keras has no loss {recipe.loss!r}") from None


class _WholeProgress:
    """Turns the progress of one network into that of all, whose epochs follow each other.

    Every network is expected to take as long as the one before. The first stage is smaller, so the end may come sooner.
    """

    def __init__(self, report: Callable[[Progress], None], number: int, networks: int) -> None:
        self.report, self.number, self.networks = report, number, networks
        self.seconds_a_batch = 0.0

    def __call__(self, progress: Progress) -> None:
        epochs = progress.epochs
        if left := (epochs - progress.epoch + 1) * progress.batches - progress.batch:
            self.seconds_a_batch = progress.seconds_left / left
        later = (self.networks - self.number - 1) * epochs * progress.batches
        self.report(
            dataclasses.replace(
                progress,
                epoch=progress.epoch + self.number * epochs,
                epochs=self.networks * epochs,
                seconds_left=progress.seconds_left + later * self.seconds_a_batch,
            )
        )


class _Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Turns Keras's callbacks into Progress; the time left follows from the steps of this process."""

    def __init__(self, report: Callable[[Progress], None], epochs: int, batches: int) -> None:
        super().__init__()
        self.report, self.epochs, self.batches = report, epochs, batches
        self.started: float | None = None
        self.steps = self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch
        if self.started is None:
            self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.steps += 1
        if batch + 1 < self.batches:  # the last one is reported by on_epoch_end, with the validation figures
            self._send(batch + 1, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._send(self.batches, logs or {})

    def _send(self, batch: int, logs: dict[str, float]) -> None:
        assert self.started is not None
        left = (self.epochs - self.epoch) * self.batches - batch
        self.report(
            Progress(
                epoch=self.epoch + 1,
                epochs=self.epochs,
                batch=batch,
                batches=self.batches,
                loss=float(logs["loss"]),
                accuracy=float(logs["accuracy"]),
                val_loss=logs.get("val_loss"),
                val_accuracy=logs.get("val_accuracy"),
                seconds_left=(time.monotonic() - self.started) / self.steps * left,
            )
        )
