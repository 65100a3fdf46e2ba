"""The command ``digits read``: reads files without a server."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from app.api.replies import failure, readings, to_json
from app.errors import ImageError, ModelError, NotAnImage, StartError
from app.inference import keras_file
from app.inference.ensemble import Cascade, load_version
from app.inference.rejection import reject
from app.registry import store
from app.registry.manifest import Manifest
from app.settings import Settings, validation_message
from app.vision.pipeline import preprocess


def read_files(names: Sequence[str], *, as_json: bool) -> int:
    """Read pictures and print a line for each: file, digit, confidence, and the reason if it is rejected.

    Args:
        names: File names; ``-`` is standard input.
        as_json: Print JSON objects with the fields of a reply to ``POST /predict``.

    Returns:
        The exit status: 0, or 1 if a file could not be read. The error is on standard error, or in the JSON object.
    """
    try:
        settings = Settings.from_environment()
        manifest, cascade = _load(settings)
    except ValidationError as error:
        print(f"digits: {validation_message(error)}", file=sys.stderr)
        return 1
    except (ModelError, StartError, store.VersionError) as error:
        print(f"digits: {error}", file=sys.stderr)
        return 1
    status, width = 0, max(map(len, names))
    for name in names:
        try:
            reading = _read(name, settings.max_pixels, manifest, cascade)
        except ImageError as error:
            status = 1
            if as_json:
                print(to_json({"file": name} | failure(error)).decode(), flush=True)
            else:
                print(f"digits: {name}: {error}", file=sys.stderr, flush=True)
            continue
        if as_json:
            model = {"name": manifest.name, "version": manifest.version}
            print(to_json({"file": name} | reading | {"model": model}).decode(), flush=True)
        else:
            line = f"{name:{width}}  {reading['digit']}  {reading['confidence']:7.2%}  {reading['reason'] or ''}"
            print(line.rstrip(), flush=True)
    return status


def _load(settings: Settings) -> tuple[Manifest, Cascade]:
    """Load the version that serves in DIGITS_MODELS, or the one that ships if there is none."""
    keras_file.convert(settings)
    folder = settings.models
    if not (folder / store.CURRENT).exists() and (shipped := store.shipped_folder()):
        folder = shipped
    return load_version(folder / str(store.current(folder)), settings.threads)


def _read(name: str, max_pixels: int, manifest: Manifest, cascade: Cascade) -> dict[str, Any]:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise NotAnImage((error.strerror or str(error)).lower()) from None
    picture = preprocess(content, max_pixels)
    rows = cascade.predict(picture.image[np.newaxis])
    (reading,) = readings(rows, [picture.reason or reject(rows, manifest.threshold)[0]])
    return reading
