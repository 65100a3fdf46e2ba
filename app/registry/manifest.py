"""The manifest of a version, ``card.json``: how it was made, its metrics, and the digests of its files."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from app.registry import format1

FORMAT = 2


class ManifestError(ValueError):
    """A manifest that cannot be read. The text names the reason."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of a version on images that it never learned from, measured with the serving engine.

    Attributes:
        images: Number of images.
        correct: Number of correct answers.
        accuracy: Share of correct answers.
        nll: Mean negative log-likelihood of the true label.
        brier: Brier score: mean squared distance of the ten probabilities to the true ones, 0 to 2.
        ece: Expected calibration error, over the bins of ``reliability``.
        accepted: Coverage: share of the images whose answer was accepted.
        precision: For each digit; None where it is undefined.
        recall: For each digit; None where it is undefined.
        confusion: Counts, with a row for each true digit and a column for each answer.
        reliability: For each of ten bins of confidence, lowest first: number of images, mean confidence and accuracy.
            The last two are None in an empty bin.
    """

    images: int
    correct: int
    accuracy: float
    nll: float
    brier: float | None = None
    ece: float | None = None
    accepted: float | None = None
    precision: list[float | None] | None = None
    recall: list[float | None] | None = None
    confusion: list[list[int]] | None = None
    reliability: list[list[float | None]] | None = None


@dataclass(frozen=True)
class Manifest:
    """The manifest of one version.

    Attributes:
        created: UTC, ISO 8601.
        parameters: Number of parameters of the network.
        files: SHA-256 of each artifact, by file name.
        libraries: Versions of the libraries that it was trained with, by name.
        name: Name of the model.
        version: Number of the version; 0 until it is published.
        recipe: All settings of the training; None for an imported Keras model.
        seed: Seed of the training.
        precision: Number format of the exported network.
        epochs: Number of epochs of the training.
        training_seconds: Duration of the training.
        data: SHA-256 of each split that it learned from or was measured on. ``validation`` is missing if this version
            or one of its parents has learned that split.
        metrics: By split: ``test``, ``validation`` or ``feedback``.
        parent: Version that fine-tuning started from.
        job: Retraining job that made it.
        verdict: Verdict of the gate, if one was needed.
        temperature: Temperature that divides the network's logits. It is part of the network.
        threshold: Answers with less confidence are rejected. None rejects none for that reason.
        tta_threshold: If the ensemble's first network is less confident, the whole ensemble answers with test-time
            augmentation. None has the ensemble answer for every image.
        cascade_threshold: Confidence from which on the answer of the cascade's first stage is final. None if there is
            no cascade.
    """

    created: str
    parameters: int
    files: dict[str, str]
    libraries: dict[str, str]
    name: str = "digits"
    version: int = 0
    recipe: dict[str, Any] | None = None
    seed: int | None = None
    precision: str | None = None
    epochs: int | None = None
    training_seconds: float | None = None
    data: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    parent: int | None = None
    job: int | None = None
    verdict: dict[str, Any] | None = None
    temperature: float | None = None
    threshold: float | None = None
    tta_threshold: float | None = None
    cascade_threshold: float | None = None

    def has_learned(self, validation: str) -> bool:
        """Return whether this version or one of its parents may have learned the validation images.

        Args:
            validation: SHA-256 of the validation split.
        """
        return self.data.get("validation") != validation

    def to_json(self) -> str:
        """Return the text of ``card.json``."""
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """Parse the text of ``card.json``.

        Raises:
            ManifestError: It is not a manifest of this format or of format 1.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"it is not JSON ({error})") from None
        if not isinstance(values, dict):
            raise ManifestError("it is not a JSON object")
        number = values.pop("format", None)
        if number == 1:
            values = format1.translate(values)
        elif number != FORMAT:
            raise ManifestError(f"its format is not {FORMAT}")
        try:
            values["metrics"] = {split: Metrics(**metrics) for split, metrics in values.get("metrics", {}).items()}
            manifest = Manifest(**values)
        except (TypeError, AttributeError) as error:
            raise ManifestError(f"its fields are not those of a manifest ({error})") from None
        manifest._check()
        return manifest

    def _check(self) -> None:
        """Raise ManifestError for the first field of the wrong type."""
        int_or_none = (int, type(None))
        expected: dict[str, tuple[Any, Any]] = {
            "name": (self.name, str),
            "created": (self.created, str),
            "version": (self.version, int),
            "parameters": (self.parameters, int),
            "parent": (self.parent, int_or_none),
            "job": (self.job, int_or_none),
            "files": (self.files, dict),
            "recipe": (self.recipe, (dict, type(None))),
            "temperature": (self.temperature, (int, float, type(None))),
            "threshold": (self.threshold, (int, float, type(None))),
            "tta_threshold": (self.tta_threshold, (int, float, type(None))),
            "cascade_threshold": (self.cascade_threshold, (int, float, type(None))),
        }
        expected |= {
            f"files of {name}": (digest, str)
            for name, digest in (self.files.items() if isinstance(self.files, dict) else ())
        }
        if isinstance(self.recipe, dict):
            expected["recipe's name"] = (self.recipe.get("name"), str)
        for split, metrics in self.metrics.items():
            for name in ("images", "correct"):
                expected[f"{name} of {split}"] = (getattr(metrics, name), int)
            for name in ("accuracy", "nll"):
                expected[f"{name} of {split}"] = (getattr(metrics, name), (int, float))
            for name in ("brier", "ece", "accepted"):
                expected[f"{name} of {split}"] = (getattr(metrics, name), (int, float, type(None)))
            for name in ("precision", "recall", "confusion", "reliability"):
                expected[f"{name} of {split}"] = (getattr(metrics, name), (list, type(None)))
        for name, (value, kind) in expected.items():
            if not isinstance(value, kind):
                raise ManifestError(f"its {name} is {value!r:.40}")
