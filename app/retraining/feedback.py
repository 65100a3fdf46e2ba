"""Feedback: images with the model's answer and the true digit, in the database and as an archive."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image

from app import tables
from app.database import Database
from app.errors import FeedbackNotFound

# One image in this many is held out of training, to measure on.
HELD_OUT_EVERY = 5

SIDE = 28
_PAGE_SIZE = 200  # corrections that an archive reads from the database at a time, without the files that were sent

feedback, labels = tables.feedback, tables.labels


@dataclass(frozen=True)
class Example:
    """A picture and the model's answer.

    Attributes:
        seen: The preprocessed image, uint8 (28, 28).
        sent: The bytes that the client sent. None if they were not read from the database, since a page of corrections
            may have gigabytes.
        sent_type: Media type of ``sent``, or ``pixels``.
        prediction: The digit that the model answered.
        probabilities: Its ten probabilities.
        version: The version that answered.
    """

    seen: NDArray[np.uint8]
    sent: bytes | None
    sent_type: str
    prediction: int
    probabilities: list[float]
    version: int


@dataclass(frozen=True)
class Correction:
    """An image in the database with its true digit.

    Attributes:
        id: Number of the correction.
        label: The newest label.
        held_back: Whether it is held out: measured on, never learned from.
        example: The picture and the model's answer when it was first sent.
        created: When it was first sent, in seconds since 1970, UTC.
        history: All its labels with their times, oldest first.
    """

    id: int
    label: int
    held_back: bool
    example: Example
    created: float
    history: list[tuple[int, float]]


class Feedback:
    """The corrections in a database."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def keep(self, example: Example, label: int) -> tuple[Correction, bool]:
        """Store an image with its label. An image that is stored already gets the new label.

        Args:
            example: The picture and the model's answer.
            label: The true digit.

        Returns:
            The correction, and whether it is new.

        Raises:
            DatabaseUnavailable: Nothing was stored.
        """
        pixels = example.seen.tobytes()
        digest = hashlib.sha256(pixels).hexdigest()
        with self._database.writing() as connection:
            now = self._database.now(connection)
            row = connection.execute(_without_sent().where(feedback.c.digest == digest)).one_or_none()
            number = (
                row.id
                if row is not None
                else connection.execute(
                    sa.insert(feedback)
                    .values(
                        digest=digest,
                        label=label,
                        held_back=int(digest, 16) % HELD_OUT_EVERY == 0,
                        seen=pixels,
                        sent=example.sent,
                        sent_type=example.sent_type,
                        prediction=example.prediction,
                        probabilities=example.probabilities,
                        version=example.version,
                        created=now,
                    )
                    .returning(feedback.c.id)
                ).scalar_one()
            )
            if row is None or row.label != label:
                connection.execute(sa.insert(labels).values(feedback=number, label=label, created=now))
                connection.execute(sa.update(feedback).where(feedback.c.id == number).values(label=label))
            (correction,) = _with_history(
                connection, connection.execute(_without_sent().where(feedback.c.id == number)).all()
            )
            return correction, row is None

    def page(self, limit: int, after: int) -> list[Correction]:
        """Return at most ``limit`` corrections with higher numbers than ``after``, lowest first."""
        return self._corrections(_without_sent().where(feedback.c.id > after).order_by(feedback.c.id).limit(limit))

    def newest(self, limit: int, before: int) -> list[Correction]:
        """Return at most ``limit`` corrections with lower numbers than ``before``, highest first."""
        query = _without_sent().where(feedback.c.id < before).order_by(feedback.c.id.desc()).limit(limit)
        return self._corrections(query)

    def _corrections(self, query: sa.Select[Any]) -> list[Correction]:
        with self._database.reading() as connection:
            return _with_history(connection, connection.execute(query).all())

    def count(self) -> int:
        """Return the number of corrections."""
        with self._database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(feedback)).scalar_one())

    def remove(self, number: int) -> None:
        """Delete a correction with its pictures and labels. A running training has its own copy.

        Raises:
            FeedbackNotFound: No correction has this number.
            DatabaseUnavailable: The database does not answer.
        """
        with self._database.writing() as connection:
            connection.execute(sa.delete(labels).where(labels.c.feedback == number))
            if not connection.execute(sa.delete(feedback).where(feedback.c.id == number)).rowcount:
                raise _not_found(number)

    def sent(self, number: int) -> bytes:
        """Return the bytes that were sent for a correction. Raises FeedbackNotFound."""
        with self._database.reading() as connection:
            found = connection.execute(sa.select(feedback.c.sent).where(feedback.c.id == number)).scalar_one_or_none()
        if found is None:
            raise _not_found(number)
        return bytes(found)

    def any(self) -> bool:
        """Return whether there is any correction to learn from."""
        with self._database.reading() as connection:
            return (
                connection.execute(sa.select(feedback.c.id).where(~feedback.c.held_back).limit(1)).first() is not None
            )

    def _all_corrections(self) -> Iterator[Correction]:
        last = 0
        while page := self.page(_PAGE_SIZE, last):
            yield from page
            last = page[-1].id

    def write_archive(self, file: BinaryIO, *, sent: bool = True) -> int:
        """Write all corrections as a ZIP file, which ``python -m training`` reads.

        ``feedback.jsonl`` has a JSON object for each correction, which names its two files: ``seen/<id>.png``, the
        preprocessed image, and ``sent/<id>``, the bytes that were sent.

        Args:
            file: The file to write to.
            sent: Whether to include the bytes that were sent.

        Returns:
            The number of corrections.

        Raises:
            DatabaseUnavailable: The database does not answer.
            OSError: The file cannot be written.
        """
        *_, count = self._write(file, sent=sent)
        return count

    def archive(self) -> Iterator[bytes]:
        """Yield the archive in pieces, each with one correction, without a copy on the disk."""
        buffer = _PieceBuffer()
        for _ in self._write(buffer, sent=True):
            yield buffer.take()
        yield buffer.take()

    def _write(self, file: BinaryIO, *, sent: bool) -> Iterator[int]:
        """Write the archive, and yield the number of corrections so far after each."""
        lines: list[str] = []
        with zipfile.ZipFile(file, "w") as archive:  # uncompressed, since pictures are compressed already
            for correction in self._all_corrections():
                names = {"seen": f"seen/{correction.id}.png"}
                if sent:
                    names["sent"] = f"sent/{correction.id}"
                    try:
                        content = self.sent(correction.id)
                    except FeedbackNotFound:  # it was removed since its page was read
                        continue
                    archive.writestr(names["sent"], content)
                archive.writestr(names["seen"], png(correction.example.seen))
                lines.append(json.dumps(describe(correction) | names))
                yield len(lines)
            archive.writestr("feedback.jsonl", "".join(f"{line}\n" for line in lines))
        yield len(lines)

    def save_archive(self, path: Path) -> int:
        """Write the archive without the bytes that were sent to a file, which is complete when it appears.

        Returns:
            The number of corrections.
        """
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            count = self.write_archive(file, sent=False)
        temporary.replace(path)
        return count


def _not_found(number: int) -> FeedbackNotFound:
    return FeedbackNotFound(f"there is no correction {number}; GET /feedback lists them")


class _PieceBuffer(io.RawIOBase, BinaryIO):
    """A file in memory that cannot be sought, and returns what was written in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._written += content
        return len(content)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken, self._written = bytes(self._written), bytearray()
        return taken


def describe(correction: Correction) -> dict[str, Any]:
    """Return a correction without its pictures, as JSON values."""
    return {
        "id": correction.id,
        "label": correction.label,
        "labels": [{"label": label, "created": created} for label, created in correction.history],
        "held_back": correction.held_back,
        "prediction": correction.example.prediction,
        "probabilities": correction.example.probabilities,
        "version": correction.example.version,
        "sent_type": correction.example.sent_type,
        "created": correction.created,
    }


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode a grey image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _without_sent() -> sa.Select[Any]:
    return sa.select(*(column for column in feedback.c if column is not feedback.c.sent))


def _with_history(connection: sa.Connection, rows: Any) -> list[Correction]:
    histories: dict[int, list[tuple[int, float]]] = {row.id: [] for row in rows}
    for label in connection.execute(sa.select(labels).where(labels.c.feedback.in_(histories)).order_by(labels.c.id)):
        histories[label.feedback].append((label.label, label.created))
    return [
        Correction(
            id=row.id,
            label=row.label,
            held_back=row.held_back,
            example=Example(
                seen=np.frombuffer(row.seen, np.uint8).reshape(SIDE, SIDE),
                sent=None,
                sent_type=row.sent_type,
                prediction=row.prediction,
                probabilities=row.probabilities,
                version=row.version,
            ),
            created=row.created,
            history=histories[row.id],
        )
        for row in rows
    ]
