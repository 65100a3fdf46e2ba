"""The manifest of a version, ``card.json``: what it is made of, what it scored, and the digests of its files."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from app.registry import format1

FORMAT = 2


class ManifestError(ValueError):
    """A manifest that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True)
class Metrics:
    """What a version scored on images that it never learned from, measured through the serving engine.

    images, correct: counts. nll: mean negative logarithm of the probability given to the true label. brier: mean
    squared distance of the ten probabilities to the true ones, 0 to 2. ece: expected calibration error, over
    ``reliability``. accepted: share of the images that were not rejected (coverage). precision, recall: by digit; null
    where there is nothing to divide by. confusion: counts, a row for each true digit and a column for each answer.
    reliability: for each tenth of the range of confidence, from 0 on, the number of images, their mean confidence and
    their accuracy; null where there are none.
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
    """One version of the model.

    version: 0 while unpublished. created: UTC, ISO 8601. recipe: all settings, None for a network made
    elsewhere. data: SHA-256 of each split that was learned from or measured on; ``validation`` only while neither this
    version nor one that it comes from has learned it. metrics: by split, ``test``, ``validation`` or ``feedback``.
    parent: the version that training started from. job: the retraining job that made it. verdict: of the gate, where
    one decided. files: SHA-256 of each artifact. temperature: by which the network's scores were divided; part of the
    network. threshold: answers with less confidence are rejected; None rejects none for that.
    tta_threshold: where one network of the ensemble is less confident, the whole ensemble is asked, with test-time
    augmentation; None asks the ensemble for every image. cascade_threshold: the confidence of the cascade's first stage
    from which on its answer stands; None where there is no cascade.
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
        """Whether it, or a version that it comes from, may have learned the validation images of this digest."""
        return self.data.get("validation") != validation

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """Raises ManifestError when the text is not a manifest of this format, or of format 1."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"it is not JSON ({error})") from None
        if not isinstance(values, dict):
            raise ManifestError("it is not a JSON object")
        found = values.pop("format", None)
        if found == 1:
            values = format1.translate(values)
        elif found != FORMAT:
            raise ManifestError(f"its format is not {FORMAT}")
        try:
            values["metrics"] = {split: Metrics(**found) for split, found in values.get("metrics", {}).items()}
            manifest = Manifest(**values)
        except (TypeError, AttributeError) as error:
            raise ManifestError(f"its fields are not those of a manifest ({error})") from None
        manifest._check()
        return manifest

    def _check(self) -> None:
        """Raises ManifestError at the first field that is of the wrong type."""
        whole = (int, type(None))
        expected: dict[str, tuple[Any, Any]] = {
            "name": (self.name, str),
            "created": (self.created, str),
            "version": (self.version, int),
            "parameters": (self.parameters, int),
            "parent": (self.parent, whole),
            "job": (self.job, whole),
            "files": (self.files, dict),
            "recipe": (self.recipe, (dict, type(None))),
            "temperature": (self.temperature, (int, float, type(None))),
            "threshold": (self.threshold, (int, float, type(None))),
            "tta_threshold": (self.tta_threshold, (int, float, type(None))),
            "cascade_threshold": (self.cascade_threshold, (int, float, type(None))),
        }
        expected |= {
            f"files of {name}": (found, str)
            for name, found in (self.files.items() if isinstance(self.files, dict) else ())
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
