"""Converts the saved Keras file that DIGITS_MODEL names into a version."""

import importlib.util
import logging
import subprocess
import sys
import tempfile

from app.errors import StartError
from app.registry import store
from app.settings import Settings

_log = logging.getLogger("digits")


def convert(settings: Settings) -> None:
    """Convert the file into a version in ``settings.models``, unless that was done before.

    ``python -m training export`` does the work, and checks that both forms of the network give the same answers.

    Raises:
        StartError: Keras or TensorFlow is not installed, or the file cannot be converted.
    """
    if settings.model is None or (settings.models / store.CURRENT).exists():
        return
    if not all(importlib.util.find_spec(name) for name in ("keras", "tensorflow")):
        raise StartError(
            f"DIGITS_MODEL: to convert {settings.model} takes Keras and TensorFlow; "
            "pip install 'digits[train]' brings them"
        )
    _log.info(f"converting {settings.model}; the next start will not need to")
    command = [sys.executable, "-m", "training", "export", str(settings.model.absolute()), "--unmeasured"]
    command += ["--models", str(settings.models.absolute()), "--pixels", settings.model_pixels]
    with tempfile.TemporaryDirectory(prefix="digits-") as scratch:  # it writes files to its working directory
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it cannot be converted"]
        raise StartError(f"DIGITS_MODEL: {lines[-1].removeprefix('training: ')}")
