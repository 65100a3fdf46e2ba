"""A network that a function of the user's builds: ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``."""

import functools
import hashlib
import importlib
import importlib.util
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from training.errors import TrainingError


def digest(reference: str) -> str:
    """SHA-256 of the file in which the function is written. The file is read, not run.

    Raises:
        TrainingError: when there is no such file.
    """
    path = _source(reference)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(f"{reference}: {path}: {(error.strerror or str(error)).lower()}") from None


def call(reference: str) -> Any:
    """Call the function.

    Returns:
        What it returns, which should be a Keras model.

    Raises:
        TrainingError: when there is no such function, or it fails.
    """
    name = reference.rpartition(":")[2]
    try:
        function = getattr(_module(reference, digest(reference)), name, None)
        if callable(function):
            return function()
    except TrainingError:
        raise
    except Exception as error:  # whatever the user's code raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TrainingError(f"{reference} fails in {frame.filename}, line {frame.lineno}: {what}") from error
    raise TrainingError(f"{reference}: there is no function {name!r} in {_source(reference)}")


def _source(reference: str) -> Path:
    place, _, name = reference.rpartition(":")
    if not place or not name.isidentifier():
        raise TrainingError(f"{reference!r} names no function; expected FILE.py:FUNCTION or package.module:FUNCTION")
    if place.endswith(".py"):
        return Path(place)
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise TrainingError(f"{reference}: there is no module {place!r} to import")
    return Path(spec.origin)


@functools.cache
def _module(reference: str, sha256: str) -> ModuleType:
    """Run the file, once for each content that it has."""
    place = reference.rpartition(":")[0]
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
