"""The shapes of replies, for the documentation; replies are built from values that are known to fit them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.inference.rejection import RejectionReason


class ModelName(BaseModel):
    """Which version answered."""

    name: str = Field(examples=["digits"])
    version: int = Field(examples=[1])


class Reading(BaseModel):
    """What one image shows."""

    digit: int = Field(ge=0, le=9, description="The most probable digit.", examples=[7])
    confidence: float = Field(ge=0, le=1, description="Its probability.", examples=[0.9998])
    accepted: bool = Field(description="Whether the picture was taken for that one digit.", examples=[True])
    reason: RejectionReason | None = Field(
        description="Why it was not: nothing stands out from the background (`blank`); something does, but is no digit "
        "(`no_digit`); there are more than one (`several_digits`); it could be one digit or another (`unsure`). Null "
        "when accepted.",
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
        description="Where on the picture that is: x and y of its upper left corner, width and height, in pixels of "
        "the picture as it is shown, turned as its EXIF data says. Null where nothing was found.",
        examples=[[40, 24, 61, 90]],
    )
    attribution: list[list[float]] = Field(
        min_length=28,
        max_length=28,
        description="How much each pixel of what the network sees spoke for the answer, from -1, against it, to 1: one "
        "patch of 4x4 pixels after the other is covered, and a pixel counts for as much as covering it lowers the log "
        "odds of the answer.",
    )


class Prediction(Reading):
    model: ModelName
    explanation: Explanation | None = Field(None, description="With `explain` only.")


class Problem(BaseModel):
    """application/problem+json, as RFC 9457 has it."""

    type: str = Field(
        description="A stable name for this kind of problem.", examples=["urn:digits:problem:blank-image"]
    )
    title: str = Field(examples=["The image is blank"])
    status: int = Field(examples=[422])
    detail: str = Field(
        description="What to do about it.", examples=["the image is blank; send one with a digit on it"]
    )
    request_id: str | None = Field(None, description="Stands in the service's log too.")


class Failure(BaseModel):
    """An image of a batch that could not be read, or with `strict` was rejected."""

    error: Problem


class Predictions(BaseModel):
    predictions: list[Reading | Failure] = Field(description="One entry an image, in the order they were sent.")
    model: ModelName


class Metrics(BaseModel):
    images: int = Field(examples=[10_000])
    correct: int = Field(examples=[9_970])
    accuracy: float = Field(examples=[0.997])
    nll: float = Field(description="Mean negative log-likelihood of the true digit.", examples=[0.010614])
    brier: float | None = Field(
        None,
        description="Mean squared distance of the probabilities to the true ones, 0 to 2; null where not measured.",
        examples=[0.0059],
    )
    ece: float | None = Field(
        None,
        description="Expected calibration error: how far confidence is from accuracy; null where not measured.",
        examples=[0.0021],
    )
    accepted: float | None = Field(
        None, description="Share of the images that were not rejected; null where not measured.", examples=[0.998]
    )


class Model(ModelName):
    """A version on disk."""

    serving: bool = Field(description="Whether it answers predictions now.")
    created: str = Field(description="UTC, ISO 8601.", examples=["2026-11-20T18:00:00Z"])
    recipe: str | None = Field(description="Null where the network was made elsewhere.", examples=["default"])
    parameters: int = Field(examples=[151_018])
    metrics: dict[str, Metrics] = Field(
        description="By split: what was measured on images never learned from.",
        examples=[{"test": {"images": 10_000, "correct": 9_970, "accuracy": 0.997, "nll": 0.010614}}],
    )
    parent: int | None = Field(description="The version that training started from.", examples=[None])


class Fault(BaseModel):
    """Why the version that was asked to serve does not."""

    version: int | None = Field(description="Null where CURRENT names none.", examples=[3])
    reason: str = Field(examples=["3/model.bin: no such file or directory"])


class Models(BaseModel):
    models: list[Model]
    fault: Fault | None = Field(
        description="What keeps the version that CURRENT names from serving; null when all is well.", examples=[None]
    )


class ModelDetail(Model):
    """The same, with all of the model manifest."""

    card: dict[str, Any]


class Retrain(BaseModel):
    """What to train; everything may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)  # else "no" would be a way to say no to `force`

    start: Literal["current", "scratch"] | None = Field(
        None,
        description="Fine-tune the version that serves, or train a new network. Default: `current` where there is "
        "feedback to learn from and no recipe is named, else `scratch`.",
    )
    recipe: str | None = Field(None, description="For a new network; default: `default`.")
    epochs: int | None = Field(None, ge=1, le=1000, description="Instead of the recipe's own number.")
    images: int | None = Field(None, ge=100, le=10**6, description="The most MNIST images to learn from.")
    feedback_share: float | None = Field(None, gt=0, lt=1, description="Part of what is learned that is feedback.")
    force: bool = Field(False, description="Publish the candidate even if it is worse; its card will say so.")

    @model_validator(mode="after")
    def _goes_together(self) -> "Retrain":
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
    attempts: int = Field(description="Times that a worker took it since its last step forward.")
    cancel_requested: bool
    progress: dict[str, Any] | None = Field(
        description="The training so far: epoch, batch, loss, accuracy, validation figures, seconds left.",
        examples=[
            {"epoch": 2, "epochs": 4, "batch": 80, "batches": 160, "loss": 0.1, "accuracy": 0.97, "seconds_left": 40.0}
        ],
    )
    verdict: dict[str, Any] | None = Field(description="The gate's figures and what follows from them.")
    parent: int | None = Field(description="The version that training started from.")
    version: int | None = Field(description="The version that was published.")
    reason: str | None = Field(description="Why it ended as it did.")


class Jobs(BaseModel):
    jobs: list[Job]


class Label(BaseModel):
    label: int = Field(ge=0, le=9)
    created: str


class Correction(BaseModel):
    """An image that was sent with what it shows."""

    id: int
    label: int = Field(ge=0, le=9, description="The newest.", examples=[7])
    labels: list[Label] = Field(description="All that it was given, in order.")
    held_back: bool = Field(description="Measured on, never learned from.")
    prediction: int = Field(description="The model's answer when it was first sent.", examples=[1])
    probabilities: list[float]
    version: int = Field(description="The version that gave that answer.")
    sent_type: str = Field(examples=["image/png"])
    created: str
    seen: str = Field(description="What the model saw, 28x28, as a data: URL.")


class Corrections(BaseModel):
    feedback: list[Correction]
    next: int | None = Field(description="The `after`, or `before`, of the next page; null on the last.")
    total: int = Field(description="How many corrections there are.", examples=[12])


class Status(BaseModel):
    status: str = Field(examples=["ready"])
    model: ModelName | None = None
