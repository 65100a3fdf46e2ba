"""``python -m app.vision``: what the network reads of pictures.

Takes their paths on standard input, NUL between them as ``find -print0`` puts it, and writes uint8 (n, 28, 28) to
standard output in numpy's format; one that cannot be read is left empty.
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageError
from app.vision.digit import SIDE
from app.vision.read import read

# The service's own default, width times height.
MAX_PIXELS = 25_000_000


def main() -> None:
    """Read all paths, then answer."""
    paths = [Path(os.fsdecode(path)) for path in sys.stdin.buffer.read().split(b"\0") if path]
    images = [_read_or_empty(path) for path in paths]
    buffer = io.BytesIO()
    np.save(buffer, np.array(images, np.uint8).reshape(-1, SIDE, SIDE))
    sys.stdout.buffer.write(buffer.getvalue())


def _read_or_empty(path: Path) -> NDArray[np.uint8]:
    try:
        return read(path.read_bytes(), MAX_PIXELS).image
    except ImageError:
        return np.zeros((SIDE, SIDE), np.uint8)


if __name__ == "__main__":
    main()
