"""People's corrections: an image, what the model said of it, and what it is."""

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

# One image in so many is kept back from training, to measure on.
HELD_OUT_EVERY = 5

SIDE = 28
_PAGE_SIZE = 200  # images that an archive reads from the database at a time, without what was sent

feedback, labels = tables.feedback, tables.labels


@dataclass(frozen=True)
class Example:
    """A picture with what the model made of it. seen: uint8 (28, 28), as the network read it.

    sent: as it came; None where it was not read again, since a page of them may have gigabytes.
    """

    seen: NDArray[np.uint8]
    sent: bytes | None
    sent_type: str
    prediction: int
    probabilities: list[float]
    version: int


@dataclass(frozen=True)
class Correction:
    """One image that is kept. history: its labels in the order in which they were given, with their times.

    held_back: measured on, never learned from. prediction, version: of the first time that it was sent.
    """

    id: int
    label: int
    held_back: bool
    example: Example
    created: float
    history: list[tuple[int, float]]


class Feedback:
    """The corrections in a database."""

    def __init__(self, base: Database) -> None:
        self._base = base

    def keep(self, example: Example, label: int) -> tuple[Correction, bool]:
        """Keep an image with its label. The same image again is the same row; another label goes into its history.

        Returns the row, and whether it is new. Raises DatabaseUnavailable; then nothing was kept.
        """
        pixels = example.seen.tobytes()
        digest = hashlib.sha256(pixels).hexdigest()
        with self._base.writing() as connection:
            now = self._base.now(connection)
            found = connection.execute(_without_sent().where(feedback.c.digest == digest)).one_or_none()
            number = (
                found.id
                if found is not None
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
            if found is None or found.label != label:
                connection.execute(sa.insert(labels).values(feedback=number, label=label, created=now))
                connection.execute(sa.update(feedback).where(feedback.c.id == number).values(label=label))
            (kept,) = _with_history(
                connection, connection.execute(_without_sent().where(feedback.c.id == number)).all()
            )
            return kept, found is None

    def page(self, limit: int, after: int) -> list[Correction]:
        """At most ``limit`` corrections with higher numbers than ``after``, lowest first."""
        return self._found(_without_sent().where(feedback.c.id > after).order_by(feedback.c.id).limit(limit))

    def newest(self, limit: int, before: int) -> list[Correction]:
        """At most ``limit`` corrections with lower numbers than ``before``, highest first."""
        return self._found(_without_sent().where(feedback.c.id < before).order_by(feedback.c.id.desc()).limit(limit))

    def _found(self, query: sa.Select[Any]) -> list[Correction]:
        with self._base.reading() as connection:
            return _with_history(connection, connection.execute(query).all())

    def count(self) -> int:
        """How many corrections there are. Raises DatabaseUnavailable."""
        with self._base.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(feedback)).scalar_one())

    def remove(self, number: int) -> None:
        """Forget a correction, its picture and its labels. A training that runs has its own copy.

        Raises:
            FeedbackNotFound: There is none with this number.
            DatabaseUnavailable: Nothing was removed.
        """
        with self._base.writing() as connection:
            connection.execute(sa.delete(labels).where(labels.c.feedback == number))
            if not connection.execute(sa.delete(feedback).where(feedback.c.id == number)).rowcount:
                raise FeedbackNotFound(f"there is no correction {number}; GET /feedback lists them")

    def sent(self, number: int) -> bytes:
        """What was sent, for one correction. Raises DatabaseUnavailable."""
        with self._base.reading() as connection:
            query = sa.select(feedback.c.sent).where(feedback.c.id == number)
            return bytes(connection.execute(query).scalar_one())

    def any(self) -> bool:
        """Whether there is anything to learn from."""
        with self._base.reading() as connection:
            return (
                connection.execute(sa.select(feedback.c.id).where(~feedback.c.held_back).limit(1)).first() is not None
            )

    def _all(self) -> Iterator[Correction]:
        last = 0
        while page := self.page(_PAGE_SIZE, last):
            yield from page
            last = page[-1].id

    def write_archive(self, file: BinaryIO, *, sent: bool = True) -> int:
        """Write all corrections as a ZIP file and return their number. Raises DatabaseUnavailable, OSError.

        ``feedback.jsonl`` has one JSON object an image, which names its two files: ``seen/<id>.png``, what the
        model saw, and ``sent/<id>``, the bytes that came, which may be left out. ``training`` reads it.
        """
        *_, count = self._written(file, sent=sent)
        return count

    def archive(self) -> Iterator[bytes]:
        """The same archive in pieces, each of a few pictures, without a copy on the disk."""
        pieces = _Pieces()
        for _ in self._written(pieces, sent=True):
            yield pieces.take()
        yield pieces.take()

    def _written(self, file: BinaryIO, *, sent: bool) -> Iterator[int]:
        """The number of corrections written so far."""
        lines: list[str] = []
        with zipfile.ZipFile(file, "w") as archive:  # stored: pictures are compressed already
            for kept in self._all():
                names = {"seen": f"seen/{kept.id}.png"}
                archive.writestr(names["seen"], png(kept.example.seen))
                if sent:
                    names["sent"] = f"sent/{kept.id}"
                    archive.writestr(names["sent"], self.sent(kept.id))
                lines.append(json.dumps(describe(kept) | names))
                yield len(lines)
            archive.writestr("feedback.jsonl", "".join(f"{line}\n" for line in lines))
        yield len(lines)

    def save_archive(self, path: Path) -> int:
        """What training needs of it, to a file, which appears whole or not at all."""
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            count = self.write_archive(file, sent=False)
        temporary.replace(path)
        return count


class _Pieces(io.RawIOBase, BinaryIO):
    """A file that cannot be sought, and gives away what was written."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._written += content
        return len(content)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._written = bytes(self._written), bytearray()
        return taken


def describe(kept: Correction) -> dict[str, Any]:
    """All of a correction but its pictures, as plain JSON values."""
    return {
        "id": kept.id,
        "label": kept.label,
        "labels": [{"label": label, "created": created} for label, created in kept.history],
        "held_back": kept.held_back,
        "prediction": kept.example.prediction,
        "probabilities": kept.example.probabilities,
        "version": kept.example.version,
        "sent_type": kept.example.sent_type,
        "created": kept.created,
    }


def png(image: NDArray[np.uint8]) -> bytes:
    """A grey image as a PNG file."""
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
