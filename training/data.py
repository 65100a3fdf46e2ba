"""MNIST as arrays, read from the four official IDX files or fetched by Keras."""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

VALIDATION_IMAGES = 10_000

# MD5 of the unpacked files: some mirrors repack the archives, the content is always this.
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 (n, 28, 28), background 0, foreground up to 255.
        labels: uint8 (n,), 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice) -> "Split":
        return Split(self.images[index], self.labels[index])

    def digest(self) -> str:
        """SHA-256 over the image bytes, then the label bytes, in order."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Digits:
    """A data set: MNIST has 60,000 training and 10,000 test images."""

    train: Split
    test: Split

    def held_out(self) -> tuple[Split, Split]:
        """Hold out the last 10,000 training images for validation; of a smaller data set the last sixth.

        MNIST's last training images come from the writers that overlap least with the others, so they are the nearest
        thing to new handwriting.

        Returns:
            The images to learn from, and those held out.
        """
        count = min(VALIDATION_IMAGES, len(self.train) // 6)
        return self.train[: len(self.train) - count], self.train[len(self.train) - count :]


def load(folder: Path | None = None, *, verify: bool = True) -> Digits:
    """Read MNIST, or let Keras download it.

    Args:
        folder: of the four files; default: ``DIGITS_DATA``. With neither, Keras downloads them.
        verify: compare each file with its published checksum; off for other data in the same format.

    Raises:
        TrainingError: when a file is missing, damaged or not MNIST, or the download fails.
    """
    if folder is None and os.environ.get("DIGITS_DATA"):
        folder = Path(os.environ["DIGITS_DATA"])
    return _from_folder(folder, verify=verify) if folder is not None else _from_keras()


def _from_folder(folder: Path, *, verify: bool) -> Digits:
    arrays = [_read_idx(folder / name, checksum if verify else None) for name, checksum in CHECKSUMS.items()]
    train_images, train_labels, test_images, test_labels = arrays
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or not len(images):
            raise TrainingError(
                f"{folder}: {images.shape} images do not go with {labels.shape} labels; "
                "expected (n, 28, 28) and (n,) with at least one image"
            )
        if labels.max() > 9:
            raise TrainingError(f"{folder}: labels run to {labels.max()}; expected 0 to 9")
    return Digits(Split(train_images, train_labels), Split(test_images, test_labels))


def _read_idx(path: Path, checksum: str | None) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    The format, from Y. LeCun's MNIST page: two zero bytes, type 8, the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the values.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except FileNotFoundError:
        raise TrainingError(
            f"{path} is missing. Put the four MNIST files ({', '.join(CHECKSUMS)}) into one folder and name it "
            "with --data or DIGITS_DATA, or give neither to have Keras download MNIST"
        ) from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise TrainingError(f"{path}: {str(error.strerror).lower()}; it must be a file that can be read") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingError(f"{path} cannot be read as a gzip file ({error}); fetch it again") from None
    if checksum is not None and hashlib.md5(content, usedforsecurity=False).hexdigest() != checksum:
        raise TrainingError(
            f"{path} is not the official MNIST file (its checksum differs): fetch it again, "
            "or pass --no-verify to train on other data in this format"
        )
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise TrainingError(f"{path} is not an IDX file of unsigned bytes")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4) if len(content) >= 4 + 4 * dimensions else None
    values = content[4 + 4 * dimensions :]
    if shape is None or int(np.prod(shape, dtype=np.int64)) != len(values):
        raise TrainingError(f"{path} is cut short: its header and its length disagree")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _from_keras() -> Digits:
    import keras

    try:
        (train_images, train_labels), (test_images, test_labels) = keras.datasets.mnist.load_data()
    except Exception as error:  # the downloader lets anything through: URLError, OSError, plain Exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(
            "no MNIST: the download by Keras failed. Either go online, or put the four official files "
            f"({', '.join(CHECKSUMS)}) into a folder and name it with --data or DIGITS_DATA. "
            f"The download said: {reason}"
        ) from None
    return Digits(Split(train_images, train_labels), Split(test_images, test_labels))
