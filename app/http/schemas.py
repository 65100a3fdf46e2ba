"""The shapes of replies, for the documentation; replies are built from values that are known to fit them."""

from typing import Any

from pydantic import BaseModel, Field


class ModelName(BaseModel):
    """Which version answered."""

    name: str = Field(examples=["digits"])
    version: int = Field(examples=[1])


class Reading(BaseModel):
    """What one image shows."""

    digit: int = Field(ge=0, le=9, description="The most probable digit.", examples=[7])
    confidence: float = Field(ge=0, le=1, description="Its probability.", examples=[0.9998])
    probabilities: list[float] = Field(
        min_length=10,
        max_length=10,
        description="Softmax probabilities of 0 to 9; they sum to 1.",
        examples=[[0, 0, 0, 0.0001, 0, 0, 0, 0.9998, 0, 0.0001]],
    )


class Prediction(Reading):
    model: ModelName


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
    """An image of a batch that could not be read."""

    error: Problem


class Predictions(BaseModel):
    predictions: list[Reading | Failure] = Field(description="One entry an image, in the order they were sent.")
    model: ModelName


class Metrics(BaseModel):
    images: int = Field(examples=[10_000])
    correct: int = Field(examples=[9_962])
    accuracy: float = Field(examples=[0.9962])
    nll: float = Field(description="Mean negative log-likelihood of the true digit.", examples=[0.009817])


class Model(ModelName):
    """A version on disk."""

    serving: bool = Field(description="Whether it answers predictions now.")
    created: str = Field(description="UTC, ISO 8601.", examples=["2026-11-20T18:00:00Z"])
    recipe: str | None = Field(description="Null where the network was made elsewhere.", examples=["default"])
    parameters: int = Field(examples=[236_458])
    metrics: dict[str, Metrics] = Field(
        description="By split: what was measured on images never learned from.",
        examples=[{"test": {"images": 10_000, "correct": 9_962, "accuracy": 0.9962, "nll": 0.009817}}],
    )
    parent: int | None = Field(description="The version that training started from.", examples=[None])


class Models(BaseModel):
    models: list[Model]


class ModelDetail(Model):
    """The same, with all of the model card."""

    card: dict[str, Any]


class Status(BaseModel):
    status: str = Field(examples=["ready"])
    model: ModelName | None = None
