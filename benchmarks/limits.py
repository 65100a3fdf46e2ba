"""How the cost of a request grows: with connections, uploads, bulk, processes, overload, and other clients."""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import alone, machine, ours, overload, pictures, wrk
from benchmarks.measurement import Measurement, measure, median
from benchmarks.processes import Server
from benchmarks.serving import DIGIT
from benchmarks.table import markdown
from training.evaluate import png

SEVEN = DIGIT.read_bytes()

CORES = len(os.sched_getaffinity(0))
WARM_UP_SECONDS = 2
START_COUNT = 5
BULK_SIZES = (1, 10, 100, 1000)


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("limits", help=__doc__, description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--workers", type=int, help="server processes; default: the service's own")
    parser.add_argument("--seconds", type=int, default=5, help="of each load; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--pressed", type=int, default=30, help="seconds of overload; default: %(default)s")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Measure and print, part by part. Returns False when something that must hold did not."""
    print(machine.describe())
    held = True
    for name in options.only:
        print(f"\n### {name.capitalize()}\n", flush=True)
        held &= PARTS[name](options) is not False
    return held


@contextmanager
def _service(options: argparse.Namespace, workers: int | None = None) -> Iterator[Server]:
    """The service, ready and idle."""
    count = workers or options.workers
    more = ["--workers", str(count)] if count else []
    with (
        tempfile.TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True) as scratch,
        ours.start(Path(scratch), *more) as server,
    ):
        server.await_ready(lambda: ours.ready(server))
        server.settle()
        yield server


def _one(picture: bytes) -> wrk.Request:
    return wrk.Request("/predict", *wrk.form(picture))


def _many(pictures_: Sequence[bytes]) -> wrk.Request:
    return wrk.Request("/predict/batch", *wrk.form(*pictures_))


def _raw(images: Sequence[bytes]) -> wrk.Request:
    return wrk.Request("/predict/batch", b"".join(images), "application/octet-stream")


def _ask(server: Server, request: wrk.Request) -> Any:
    """The reply to one request. Raises RuntimeError when its status is not 200."""
    headers = {"content-type": request.content_type}
    reply = httpx.post(server.url + request.path, content=request.body, headers=headers, timeout=60)
    if reply.status_code != 200:
        raise RuntimeError(f"{request.path} with {request.content_type} gives {reply.status_code}: {reply.text[:200]}")
    return reply.json()


def _rounds(
    server: Server, loads: dict[tuple[str, int], wrk.Request], options: argparse.Namespace
) -> dict[tuple[str, int], Measurement]:
    """Measure each load, named by its form and connections, once a round. Returns the medians."""
    for request in dict.fromkeys(loads.values()):
        _ask(server, request)
        wrk.load(server.url, request, 2 * CORES, WARM_UP_SECONDS)
    found: dict[tuple[str, int], list[Measurement]] = {key: [] for key in loads}
    for _ in range(options.rounds):
        for (name, connections), request in loads.items():
            found[name, connections].append(measure(server, request, connections, options.seconds))
    return {key: median(measured) for key, measured in found.items()}


def _table(what: str, medians: dict[tuple[str, int], Measurement]) -> str:
    head = [what, "connections", "requests/s", "p50, ms", "p99, ms", "CPU, s/1,000", "PSS, MB", "errors"]
    rows = [
        [
            *(name, str(connections), f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}"),
            *(f"{one.cpu:.2f}", f"{one.pss:,.0f}", str(one.errors)),
        ]
        for (name, connections), one in medians.items()
    ]
    return markdown(head, rows)


def connections(options: argparse.Namespace) -> None:
    """One PNG upload a request, over more and more connections."""
    forms = {"multipart": _one(SEVEN), "raw body": wrk.Request("/predict", SEVEN, "image/png")}
    loads = {(form, count): request for form, request in forms.items() for count in (1, 8, 32, 128, 512)}
    with _service(options) as server:
        print(_table("form", _rounds(server, loads, options)))


def uploads(options: argparse.Namespace) -> None:
    """Pictures of more and more pixels."""
    found = pictures.uploads()
    loads = {(name, count): _one(picture) for name, picture in found.items() for count in (1, 32)}
    with _service(options) as server:
        for name, picture in found.items():
            digit = _ask(server, _one(picture))["digit"]
            print(f"{name}, {len(picture):,} bytes: read as {digit}")
        print(f"\n{_table('upload', _rounds(server, loads, options))}")


def bulk(options: argparse.Namespace) -> None:
    """Many images in a call, compared with decoding and the network without a service, in the same rounds."""
    images = pictures.small(max(BULK_SIZES))
    files, plain = [png(image) for image in images], [image.tobytes() for image in images]
    makers: dict[str, Callable[[int], wrk.Request]] = {
        "multipart": lambda count: _many(files[:count]),
        "octet-stream": lambda count: _raw(plain[:count]),
    }
    senders = (1, 2 * CORES)
    requests = {(form, count): make(count) for form, make in makers.items() for count in BULK_SIZES}
    reached: dict[tuple[str, int, int], list[Measurement]] = {}
    limits: dict[str, list[float]] = {"multipart": [], "octet-stream": []}
    with _service(options) as server:
        for (_, count), request in requests.items():
            predictions = _ask(server, request)["predictions"]
            assert len(predictions) == count, f"{len(predictions)} of {count} were answered"
            assert not any("error" in one for one in predictions), predictions
            wrk.load(server.url, request, 2 * CORES, WARM_UP_SECONDS)
        for _ in range(options.rounds):
            limits["multipart"].append(alone.rate(files, options.seconds, decode=True))
            limits["octet-stream"].append(alone.rate(plain, options.seconds, decode=False))
            for (form, count), request in requests.items():
                for number in senders:
                    measured = measure(server, request, number, options.seconds)
                    reached.setdefault((form, count, number), []).append(measured)
    alone_rates = {form: statistics.median(rates) for form, rates in limits.items()}
    print(
        f"without a service, on {CORES} cores: decoding and network {alone_rates['multipart']:,.0f} images/s,", end=" "
    )
    print(f"network {alone_rates['octet-stream']:,.0f}\n")
    rows = []
    for (form, count, number), all_measured in reached.items():
        one = median(all_measured)
        share = count * one.rate / alone_rates[form]
        rows.append(
            [
                *(form, f"{count:,}", str(number), f"{count * one.rate:,.0f}", f"{share:.0%}".replace("%", " %")),
                *(f"{one.p50:.1f}", f"{one.p99:.1f}", str(one.errors)),
            ]
        )
    head = ["form", "images", "connections", "images/s", "of that", "p50, ms", "p99, ms", "errors"]
    print(markdown(head, rows))


def processes(options: argparse.Namespace) -> None:
    """One PNG upload a request, to one server process and to one for each core; started anew in each round."""
    counts = sorted({1, CORES})
    found: dict[tuple[str, int], list[Measurement]] = {}
    for _ in range(options.rounds):
        for count in counts:
            with _service(options, count) as server:
                request = _one(SEVEN)
                wrk.load(server.url, request, 32, WARM_UP_SECONDS)
                for number in (1, 32, 128):
                    measured = measure(server, request, number, options.seconds)
                    found.setdefault((str(count), number), []).append(measured)
    print(_table("processes", {key: median(measured) for key, measured in found.items()}))


def overloaded(options: argparse.Namespace) -> bool:
    """Far more clients than can be answered in time."""
    with _service(options) as server:
        wrk.load(server.url, _one(SEVEN), 128, WARM_UP_SECONDS)
        return overload.overload(server, _one(SEVEN), options.pressed)


def mixed(options: argparse.Namespace) -> None:
    """Single digits, one after the other, alone and while another client sends batches without pause."""
    images = pictures.small(max(BULK_SIZES))
    other_clients = {
        "none": None,
        "1,000 images, multipart": _many([png(image) for image in images]),
        "1,000 images, octet-stream": _raw([image.tobytes() for image in images]),
    }
    with _service(options) as server:
        for request in (_one(SEVEN), *other_clients.values()):
            if request:
                _ask(server, request)
                wrk.load(server.url, request, 2 * CORES, WARM_UP_SECONDS)
        print(overload.beside(server, _one(SEVEN), other_clients, options.seconds, options.rounds))


def start(options: argparse.Namespace) -> None:
    """From the command to the first reply, and what each process holds then."""
    seconds, memories = [], []
    for _ in range(START_COUNT):
        with _service(options) as server:
            seconds.append(server.ready_after)
            _ask(server, _one(SEVEN))
            memories.append([memory for memory in server.memories() if memory.rss])
    rows = [["command to ready, s", f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}"]]
    for number, found in enumerate(zip(*memories, strict=False)):
        for kind in ("rss", "pss"):
            held = [getattr(memory, kind) for memory in found]
            middle, span = f"{statistics.median(held):.0f}", f"{min(held):.0f} to {max(held):.0f}"
            rows.append([f"process {number + 1}, {kind.upper()}, MB", middle, span])
    print(markdown(["", f"median of {START_COUNT}", "range"], rows))


PARTS: dict[str, Callable[[argparse.Namespace], bool | None]] = {
    "connections": connections,
    "uploads": uploads,
    "bulk": bulk,
    "processes": processes,
    "overload": overloaded,
    "mixed": mixed,
    "start": start,
}
