"""The version that serves now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.errors import ModelError, VersionNotFound
from app.inference.batcher import Batcher
from app.inference.engine import OpenVinoEngine
from training import versions
from training.card import Card


@dataclass(frozen=True)
class Live:
    """A version with its running network. A request takes one and keeps it to its end."""

    card: Card
    batcher: Batcher


def start(folder: Path, threads: int, observe: Callable[[int], None]) -> Live:
    """Verify, load and warm the version that CURRENT names.

    observe: told the size of every batch that runs. Raises ModelError that names the file and the reason.
    """
    try:
        version = versions.verify(folder / str(versions.current(folder)))
    except versions.VersionError as error:
        raise ModelError(str(error)) from None
    engine = OpenVinoEngine(version, threads)
    engine.warm()
    return Live(version.card, Batcher(engine, engine.SIZES[-1], observe))


def cards(folder: Path) -> list[Card]:
    """The cards of all versions on disk that can be read, lowest first."""
    found = []
    for number in versions.numbers(folder):
        try:
            found.append(versions.card_of(folder / str(number)))
        except versions.VersionError:
            continue  # a damaged version is no reason to hide the others
    return found


def card(folder: Path, number: int) -> Card:
    """One version's card. Raises VersionNotFound, or ModelError when it is damaged."""
    if number not in versions.numbers(folder):
        known = ", ".join(map(str, versions.numbers(folder))) or "none"
        raise VersionNotFound(f"there is no version {number}; there are: {known}")
    try:
        return versions.card_of(folder / str(number))
    except versions.VersionError as error:
        raise ModelError(str(error)) from None
