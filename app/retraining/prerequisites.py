"""Checks whether this machine can train."""

import importlib.util
import os

from app.settings import Settings

# Libraries that training imports and that an installation without the training extra lacks.
LIBRARIES = ("tensorflow", "keras", "matplotlib", "sklearn", "httpx")

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def problem(settings: Settings) -> str | None:
    """Return why this machine cannot train, and what to set or install; None if it can."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        return f"training needs {', '.join(missing)}; run: pip install 'digits[train]'"
    if settings.data is None:
        return "there is no training data: set DIGITS_DATA to a folder with the four MNIST files"
    for name in FILES:
        if not os.access(settings.data / name, os.R_OK):  # also False if the folder is not accessible
            return f"{name} cannot be read in the folder DIGITS_DATA; put the four MNIST files there"
    return None
