"""All settings of the service, each from an environment variable that starts with ``DIGITS_``."""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from app.resources import cores

PREFIX = "DIGITS_"

MIN_TOKEN_LENGTH = 8  # characters


class Settings(BaseModel):
    """Read once at startup; wrong values stop the start with a message that names them."""

    model_config = ConfigDict(frozen=True)

    models: Path = Field(default=Path("models/digits"), description="Folder of the model versions and CURRENT.")
    model: Path | None = Field(
        default=None,
        description="A saved Keras file to serve as it is, in place of DIGITS_MODELS. It is converted at the first "
        "start, into a folder below DIGITS_STATE; that needs the training extra.",
    )
    model_pixels: Literal["0..255", "0..1", "-1..1"] = Field(
        default="0..255", description="Range of the numbers that the network of DIGITS_MODEL was trained on."
    )
    max_body: ByteSize = Field(
        default=ByteSize(5 * 1024 * 1024), ge=1, description="Largest request body, in bytes or as 5MiB."
    )
    max_pixels: int = Field(default=25_000_000, ge=784, description="Largest picture, width times height.")
    max_batch: int = Field(default=1000, ge=1, description="Most images in one call of /predict/batch.")
    max_waiting: int = Field(
        default=4000, ge=1, description="Most images that wait for the network in one process; beyond, 503."
    )
    deadline: float = Field(
        default=2.0,
        gt=0,
        description="Seconds that a prediction may wait to be decoded, and then for the network; beyond, 504.",
    )
    max_connections: int = Field(default=2000, ge=1, description="Most connections to one process; beyond, 503.")
    keep_alive: int = Field(default=75, ge=1, description="Seconds for which a connection that is not used stays open.")
    cors_origins: str = Field(
        default="", description="Origins whose pages may call, such as https://example.org, or * for all."
    )
    threads: int = Field(
        default_factory=cores, ge=1, le=1024, description="Threads for inference, and for decoding; default: cores."
    )
    state: Path = Field(
        default=Path("state"), description="Folder of the database, the running jobs and the admin token."
    )
    admin_token: SecretStr | None = Field(
        default=None,
        min_length=MIN_TOKEN_LENGTH,
        description="What calls that change something must bring; default: one is made.",
    )

    database_url: SecretStr | None = Field(
        default=None, description="postgresql://user:password@host/name or sqlite:///path; default: in DIGITS_STATE."
    )
    data: Path | None = Field(default=None, description="Folder of the four MNIST files that retraining learns from.")
    verify_data: bool = Field(
        default=True, description="Take only the official MNIST files; off for other data in their format."
    )
    worker: Literal["embedded", "external"] = Field(
        default="embedded", description="Who retrains: a process beside the service, or one started elsewhere."
    )
    training_threads: int = Field(
        default_factory=lambda: max(1, cores() // 2), ge=1, le=1024, description="Threads of a training."
    )
    max_jobs: int = Field(default=10, ge=1, description="Most retrainings that wait.")
    lease: float = Field(default=10.0, ge=1, description="Seconds after which a silent worker's job goes to another.")

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the variables; one that is empty counts as not set. Raises ValidationError."""
        variables = {name: os.environ.get(f"{PREFIX}{name.upper()}", "") for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in variables.items() if value.strip()})

    @model_validator(mode="before")
    @classmethod
    def _folder_of_model(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A Keras file has a folder of its own, by its content."""
        if not (model := values.get("model")):
            return values
        try:
            content = Path(model).read_bytes()
        except OSError:
            return values  # told by the check of the field itself
        pixels = str(values.get("model_pixels", cls.model_fields["model_pixels"].default))
        digest = hashlib.sha256(content + pixels.encode()).hexdigest()
        state = Path(values.get("state", cls.model_fields["state"].default))
        return values | {"models": state / "keras" / digest[:16]}

    def database(self) -> str:
        """The database's URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.state.absolute() / 'digits.db'}"

    @field_validator("model")
    @classmethod
    def _can_be_read(cls, model: Path | None) -> Path | None:
        try:
            if model:
                model.open("rb").close()
        except OSError as error:
            raise ValueError(f"{model}: {(error.strerror or str(error)).lower()}") from None
        return model

    @field_validator("admin_token")
    @classmethod
    def _can_be_sent(cls, token: SecretStr | None) -> SecretStr | None:
        """What is no plain character, or a space, does not come through a header as it was."""
        if token and not all("!" <= character <= "~" for character in token.get_secret_value()):
            raise ValueError("it must be of plain letters, digits and signs, without spaces")
        return token


def faults(error: ValidationError) -> str:
    """What is wrong with which variables; never their values, since some are secrets."""
    return "; ".join(
        f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    )
