"""The schemas of replies, for the documentation. Replies are not validated against them at run time."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.inference.rejection import RejectionReason


class ModelName(BaseModel):
    """Which version answered."""

    name: str = Field(examples=["digits"])
    version: int = Field(examples=[1])


class Reading(BaseModel):
    """The answer for one image."""

    digit: int = Field(ge=0, le=9, description="The most probable digit.", examples=[7])
    confidence: float = Field(ge=0, le=1, description="Its probability.", examples=[0.9998])
    accepted: bool = Field(description="Whether the answer is accepted. If not, do not rely on it.", examples=[True])
    reason: RejectionReason | None = Field(
        description="Why the answer is not accepted: nothing stands out from the background (`blank`), what does is no "
        "digit (`no_digit`), there is more than one digit (`several_digits`), or it could be one of two digits "
        "(`unsure`). Null if it is accepted.",
        examples=[None],
    )
    probabilities: list[float] = Field(
        min_length=10,
        max_length=10,
        description="Softmax probabilities of 0 to 9; they sum to 1.",
        examples=[[0, 0, 0, 0.0001, 0, 0, 0, 0.9998, 0, 0.0001]],
    )


class Explanation(BaseModel):
    """How the answer came about."""

    seen: str = Field(description="What the network sees, 28x28, as a data: URL.")
    box: list[int] | None = Field(
        min_length=4,
        max_length=4,
        description="Where that is on the picture: x and y of its upper left corner, width and height, in pixels of "
        "the picture turned upright as its EXIF data says. Null if nothing was found.",
        examples=[[40, 24, 61, 90]],
    )
    attribution: list[list[float]] = Field(
        min_length=28,
        max_length=28,
        description="How much each pixel of what the network sees spoke for the answer, from -1, against it, to 1. One "
        "patch of 4x4 pixels after the other is covered, and a pixel counts for as much as covering it lowers the log "
        "odds of the answer.",
    )


class Prediction(Reading):
    """The answer for one image, and the version that gave it."""

    model: ModelName
    explanation: Explanation | None = Field(None, description="With `explain` only.")


class Problem(BaseModel):
    """An error as application/problem+json (RFC 9457)."""

    type: str = Field(
        description="A stable name for this kind of problem.", examples=["urn:digits:problem:blank-image"]
    )
    title: str = Field(examples=["The image is blank"])
    status: int = Field(examples=[422])
    detail: str = Field(
        description="What to do about it.", examples=["the image is blank; send one with a digit on it"]
    )
    request_id: str | None = Field(None, description="The id of the request, also in the service's log.")


class Failure(BaseModel):
    """An image of a batch that could not be read, or that was rejected with `strict`."""

    error: Problem


class Predictions(BaseModel):
    """The answers for a batch, and the version that gave them."""

    predictions: list[Reading | Failure] = Field(
        description="One entry for each image, in the order in which they were sent."
    )
    model: ModelName


class Metrics(BaseModel):
    """How well a version did on one data set."""

    images: int = Field(examples=[10_000])
    correct: int = Field(examples=[9_970])
    accuracy: float = Field(examples=[0.997])
    nll: float = Field(description="Mean negative log-likelihood of the true digit.", examples=[0.010614])
    brier: float | None = Field(
        None,
        description="Brier score: mean squared error of the probabilities, 0 to 2; null if not measured.",
        examples=[0.0059],
    )
    ece: float | None = Field(
        None,
        description="Expected calibration error: how far confidence is from accuracy; null if not measured.",
        examples=[0.0021],
    )
    accepted: float | None = Field(
        None,
        description="Coverage: share of the images whose answer was accepted; null if not measured.",
        examples=[0.998],
    )


class Model(ModelName):
    """A version on disk."""

    serving: bool = Field(description="Whether it answers predictions now.")
    created: str = Field(description="UTC, ISO 8601.", examples=["2026-11-20T18:00:00Z"])
    recipe: str | None = Field(
        description="Name of the recipe; null for an imported Keras model.", examples=["default"]
    )
    parameters: int = Field(examples=[151_018])
    metrics: dict[str, Metrics] = Field(
        description="By split, measured on images that the version never learned from.",
        examples=[{"test": {"images": 10_000, "correct": 9_970, "accuracy": 0.997, "nll": 0.010614}}],
    )
    parent: int | None = Field(description="The version that fine-tuning started from.", examples=[None])


class LoadError(BaseModel):
    """Why the version that CURRENT names does not serve."""

    version: int | None = Field(description="Null if CURRENT names no version.", examples=[3])
    reason: str = Field(examples=["3/model.bin: no such file or directory"])


class Models(BaseModel):
    """All versions on disk."""

    models: list[Model]
    fault: LoadError | None = Field(
        description="Why the version that CURRENT names does not serve; null if it does.", examples=[None]
    )


class ModelDetail(Model):
    """A version on disk with its whole manifest."""

    card: dict[str, Any] = Field(
        description="The manifest: recipe, seed, libraries, metrics, digests of data and files."
    )


class Retrain(BaseModel):
    """What to train. All fields are optional."""

    model_config = ConfigDict(extra="forbid", strict=True)  # `"force": "no"` is an error, for example

    start: Literal["current", "scratch"] | None = Field(
        None,
        description="`current` fine-tunes the version that serves, `scratch` trains a new network. Default: `current` "
        "if there is feedback to learn from and no recipe is named, else `scratch`.",
    )
    recipe: str | None = Field(None, description="Recipe of a new network; default: `default`.")
    epochs: int | None = Field(None, ge=1, le=1000, description="Number of epochs, in place of the recipe's.")
    images: int | None = Field(None, ge=100, le=10**6, description="Most MNIST images to learn from.")
    feedback_share: float | None = Field(
        None, gt=0, lt=1, description="Share of the training images that are feedback."
    )
    force: bool = Field(False, description="Publish the candidate even if it is worse. Its manifest records this.")

    @model_validator(mode="after")
    def _check_recipe(self) -> "Retrain":
        if self.recipe is not None and self.start == "current":
            raise ValueError("a recipe is for a new network; leave it out, or set start to scratch")
        return self


class Job(BaseModel):
    """A retraining. Times are UTC, ISO 8601."""

    id: int = Field(examples=[1])
    status: str = Field(description="queued, running, published, rejected, failed or cancelled.", examples=["running"])
    request: dict[str, Any] = Field(examples=[{"start": "current", "force": False}])
    created: str
    started: str | None
    finished: str | None
    attempts: int = Field(description="How often a worker took it since its last step.")
    cancel_requested: bool
    progress: dict[str, Any] | None = Field(
        description="Progress of the training: epoch, batch, loss, accuracy, validation figures, seconds left.",
        examples=[
            {"epoch": 2, "epochs": 4, "batch": 80, "batches": 160, "loss": 0.1, "accuracy": 0.97, "seconds_left": 40.0}
        ],
    )
    verdict: dict[str, Any] | None = Field(description="The gate's figures and its decision.")
    parent: int | None = Field(description="The version that fine-tuning started from.")
    version: int | None = Field(description="The version that was published.")
    reason: str | None = Field(description="Why it ended that way.")


class Jobs(BaseModel):
    """Retraining jobs, newest first."""

    jobs: list[Job]


class Label(BaseModel):
    """A label that an image was given, and when: UTC, ISO 8601."""

    label: int = Field(ge=0, le=9)
    created: str


class Correction(BaseModel):
    """An image that was sent with its true digit."""

    id: int
    label: int = Field(ge=0, le=9, description="The newest label.", examples=[7])
    labels: list[Label] = Field(description="All its labels, oldest first.")
    held_back: bool = Field(description="Held out: measured on, never learned from.")
    prediction: int = Field(description="The model's answer when it was first sent.", examples=[1])
    probabilities: list[float]
    version: int = Field(description="The version that gave that answer.")
    sent_type: str = Field(examples=["image/png"])
    created: str
    seen: str = Field(description="The preprocessed image, 28x28, as a data: URL.")


class Corrections(BaseModel):
    """A page of corrections."""

    feedback: list[Correction]
    next: int | None = Field(description="The value of `after`, or `before`, for the next page; null on the last.")
    total: int = Field(description="Number of all corrections.", examples=[12])


class Status(BaseModel):
    """Whether the service is alive or ready."""

    status: str = Field(examples=["ready"])
    model: ModelName | None = None
