"""All settings of the service, each from an environment variable that starts with ``DIGITS_``."""

import os
from pathlib import Path

from pydantic import ByteSize, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Read once at startup; wrong values stop the start with a message that names them."""

    model_config = SettingsConfigDict(env_prefix="DIGITS_", frozen=True)

    models: Path = Field(default=Path("models/digits"), description="Folder of the model versions and CURRENT.")
    max_body: ByteSize = Field(
        default=ByteSize(5 * 1024 * 1024), ge=1, description="Largest request body, in bytes or as 5MiB."
    )
    max_pixels: int = Field(default=25_000_000, ge=784, description="Largest picture, width times height.")
    max_batch: int = Field(default=1000, ge=1, description="Most images in one call of /predict/batch.")
    threads: int = Field(
        default_factory=_cores, ge=1, le=1024, description="Threads for inference, and for decoding; default: cores."
    )
