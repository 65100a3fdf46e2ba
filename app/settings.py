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
    """The settings, read once at startup. A value that is not valid stops the start; the message names the variable."""

    model_config = ConfigDict(frozen=True)

    models: Path = Field(default=Path("models/digits"), description="Folder with the model versions and CURRENT.")
    model: Path | None = Field(
        default=None,
        description="A saved Keras file to serve instead of DIGITS_MODELS. The first start converts it into a folder "
        "below DIGITS_STATE; that needs the training extra.",
    )
    model_pixels: Literal["0..255", "0..1", "-1..1"] = Field(
        default="0..255", description="Range of the pixels that the network of DIGITS_MODEL was trained on."
    )
    max_body: ByteSize = Field(
        default=ByteSize(5 * 1024 * 1024),
        ge=1,
        description="Largest request body, in bytes or with a unit, such as 5MiB.",
    )
    max_pixels: int = Field(default=25_000_000, ge=784, description="Most pixels of a picture, width times height.")
    max_batch: int = Field(default=1000, ge=1, description="Most images in one call of /predict/batch.")
    max_waiting: int = Field(
        default=4000, ge=1, description="Most images that wait for the network in one process; beyond that, 503."
    )
    deadline: float = Field(
        default=2.0,
        gt=0,
        description="Seconds that a prediction may wait to be decoded, and then for the network; beyond that, 504.",
    )
    max_connections: int = Field(default=2000, ge=1, description="Most connections to one process; beyond that, 503.")
    keep_alive: int = Field(default=75, ge=1, description="Seconds for which an idle connection stays open.")
    cors_origins: str = Field(
        default="",
        description="Origins of web pages that may call the service, such as https://example.org, or * for all.",
    )
    threads: int = Field(
        default_factory=cores,
        ge=1,
        le=1024,
        description="Threads for inference, and as many for decoding; default: the number of cores.",
    )
    state: Path = Field(
        default=Path("state"), description="Folder with the database, the files of running jobs and the admin token."
    )
    admin_token: SecretStr | None = Field(
        default=None,
        min_length=MIN_TOKEN_LENGTH,
        description="Token for calls that change something; default: one is generated in DIGITS_STATE.",
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host/name or sqlite:///path; default: a file in DIGITS_STATE.",
    )
    data: Path | None = Field(default=None, description="Folder with the four MNIST files that retraining learns from.")
    verify_data: bool = Field(
        default=True, description="Accept only the official MNIST files; set to false for other data in their format."
    )
    worker: Literal["embedded", "external"] = Field(
        default="embedded",
        description="Where retraining runs: in a process that the service starts, or in one started elsewhere.",
    )
    training_threads: int = Field(
        default_factory=lambda: max(1, cores() // 2), ge=1, le=1024, description="Threads for training."
    )
    max_jobs: int = Field(default=10, ge=1, description="Most queued retraining jobs.")
    lease: float = Field(
        default=10.0, ge=1, description="Seconds without a heartbeat after which another worker takes over a job."
    )

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment variables. An empty one counts as not set.

        Raises:
            ValidationError: A value is not valid. Its text repeats the values: log ``validation_message`` instead.
        """
        variables = {name: os.environ.get(f"{PREFIX}{name.upper()}", "") for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in variables.items() if value.strip()})

    @model_validator(mode="before")
    @classmethod
    def _use_folder_of_keras_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Set ``models`` to the folder of the Keras file that ``model`` names, which depends on the file's content."""
        if not (model := values.get("model")):
            return values
        try:
            content = Path(model).read_bytes()
        except OSError:
            return values  # the validator of the field reports it
        pixels = str(values.get("model_pixels", cls.model_fields["model_pixels"].default))
        digest = hashlib.sha256(content + pixels.encode()).hexdigest()
        state = Path(values.get("state", cls.model_fields["state"].default))
        return values | {"models": state / "keras" / digest[:16]}

    def database(self) -> str:
        """Return the database's URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.state.absolute() / 'digits.db'}"

    @field_validator("model")
    @classmethod
    def _check_readable(cls, model: Path | None) -> Path | None:
        try:
            if model:
                model.open("rb").close()
        except OSError as error:
            raise ValueError(f"{model}: {(error.strerror or str(error)).lower()}") from None
        return model

    @field_validator("admin_token")
    @classmethod
    def _check_header_safe(cls, token: SecretStr | None) -> SecretStr | None:
        """Reject spaces and characters outside ASCII, which an HTTP header does not carry unchanged."""
        if token and not all("!" <= character <= "~" for character in token.get_secret_value()):
            raise ValueError("it must consist of ASCII letters, digits and punctuation, without spaces")
        return token


def validation_message(error: ValidationError) -> str:
    """Return what is wrong with which variables, without their values, since some are secrets."""
    return "; ".join(
        f"{PREFIX}{'.'.join(map(str, detail['loc'])).upper()}: {detail['msg'].removeprefix('Value error, ')}"
        for detail in error.errors()
    )
