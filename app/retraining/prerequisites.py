"""Whether this machine can train."""

import importlib.util
import os

from app.settings import Settings

# What training imports that a serving installation lacks.
LIBRARIES = ("tensorflow", "keras", "matplotlib", "sklearn", "httpx")

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def problem(settings: Settings) -> str | None:
    """Why it cannot, and what to set or install; None when it can."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed here; pip install 'digits[train]' brings all that training needs"
    if settings.data is None:
        return "there is no training data: set DIGITS_DATA to a folder with the four MNIST files"
    for name in FILES:
        if not os.access(settings.data / name, os.R_OK):  # False, too, for a folder that may not be looked into
            return f"there is no {name} to read in the folder that DIGITS_DATA names; put the four MNIST files there"
    return None
