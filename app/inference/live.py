"""One version with its running network, and the versions on disk."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.errors import ModelError, VersionNotFound
from app.inference.batcher import Batcher
from app.inference.engine import Engine, Graph, OpenVinoEngine, runtime
from app.inference.scouted import Scouted
from app.inference.second_look import SecondLook
from training import versions
from training.card import Card
from training.versions import FIRST_OUTPUT, SCOUT_OUTPUT

# How many times as many images a run has with a scout: it takes as long then as one without.
SCOUTED = 4

# Larger batches for the scout, which takes a seventh less time for an image in one of 64 than in four of 16.
MANY = (32, 64)


@dataclass(frozen=True)
class Live:
    """A version with its running network. A request takes one and keeps it to its end."""

    card: Card
    batcher: Batcher


def load(
    folder: Path,
    number: int,
    threads: int,
    observe: Callable[[int], None],
    most_waiting: float,
    *,
    hurry: bool = False,
) -> Live:
    """Verify, load and warm a version. Takes a good part of a second.

    observe: told the size of every batch that runs. most_waiting: images. hurry: take two cores for half as long, as at
    the start, when nobody else wants one.
    Raises ModelError that names the file and the reason.
    """
    try:
        version = versions.verify(folder / str(number))
    except versions.VersionError as error:
        raise ModelError(str(error)) from None
    # A lone image, the event loop's, gains next to nothing from more than one thread, and all of them would have to get
    # a core while others keep those busy.
    if hurry:
        runtime()  # by this thread, see there
        with ThreadPoolExecutor(1) as beside:  # each of a graph of its own: the runtime says nothing of threads there
            making = beside.submit(lambda: engine(Graph(version), threads))
            own = engine(Graph(version), 1)
            first = making.result()
    else:
        graph = Graph(version)
        first, own = engine(graph, threads), engine(graph, 1)
    # Of sixteen images a scout leaves one or two for the network, which cost it nearly twice as much each as many do.
    most = OpenVinoEngine.MOST * (1 if version.card.sure is None else SCOUTED)
    batcher = Batcher(first, own, most, observe, most_waiting, beside=threads > 1)
    return Live(version.card, batcher)


def engine(graph: Graph, threads: int) -> Engine:
    """A version's network as it answers requests. Raises ModelError."""
    card = graph.card
    asked: Engine = _warm(OpenVinoEngine(graph, threads, output=None if card.second_look is None else FIRST_OUTPUT))
    if card.sure is not None:
        scout = OpenVinoEngine(graph, threads, [*range(1, OpenVinoEngine.MOST + 1), *MANY], output=SCOUT_OUTPUT)
        asked = Scouted(_warm(scout), asked, card.sure)
    if card.second_look is not None:
        asked = SecondLook(asked, _warm(OpenVinoEngine(graph, threads, sizes=SecondLook.SIZES)), card.second_look)
    return asked


def _warm(engine: OpenVinoEngine) -> OpenVinoEngine:
    engine.warm()
    return engine


def require(folder: Path, number: int) -> None:
    """Raises VersionNotFound when no version has this number."""
    found = versions.numbers(folder)
    if number not in found:
        known = ", ".join(map(str, found)) or "none"
        raise VersionNotFound(f"there is no version {number}; there are: {known}")


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
    require(folder, number)
    try:
        return versions.card_of(folder / str(number))
    except versions.VersionError as error:
        raise ModelError(str(error)) from None
