"""Requests a second, latency, processor time and memory of our service and of others, for the same picture.

One server at a time is started, checked, warmed up, measured at every number of connections, and stopped. Then comes
the next one. Several rounds spread what else the machine does over all servers.
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks import machine, ours, wrk
from benchmarks.measurement import Measurement, measure, median
from benchmarks.peer import CACHE, PEERS
from benchmarks.processes import Server
from benchmarks.service import ROOT
from benchmarks.table import markdown

DIGIT = (
    ROOT / "tests" / "images" / "seven-28x28.png"
)  # goes to the network unchanged, so that all servers give the same answer
OURS, TUTORIAL, CAREFUL = "ours", "tutorial", "fastapi"
RAW, PIXELS = "ours, raw body", "ours, 784 bytes"  # of the file, and of its pixels without a file
WARM_UP_SECONDS, WARM_UP_CONNECTIONS = 2, 32
TOLERANCE = 1e-3  # in a probability, between two servers of one network
REPLY_TIMEOUT_SECONDS = 300.0  # the tutorial's server first answers all that was sent before


Found = dict[tuple[str, int], list[Measurement]]


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("serving", help=__doc__.splitlines()[0], description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="*", choices=names, default=names, help="default: all")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 32, 128])
    parser.add_argument("--seconds", type=int, default=10, help="of each load; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Measure, and print the tables. Returns False when our service did not answer every request."""
    starts: dict[str, Callable[[Path], Server]] = {OURS: ours.start}
    about = {}
    for peer in PEERS:
        if peer.name in options.peers:
            try:
                peer.install()
            except RuntimeError as error:
                print(f"{peer.name} is left out: {error}")
                continue
            starts[peer.name], about[peer.name] = peer.start, peer.versions()
            print(peer.name, *(f"{package} {version}" for package, version in about[peer.name].items()), flush=True)
    found: Found = defaultdict(list)
    expected: list[float] = []
    for number in range(options.rounds):
        for name in list(starts):
            print(f"round {number + 1}: {name}", flush=True)
            try:
                expected = _measure(name, starts[name], options, expected, found)
            except RuntimeError as error:
                if name == OURS:
                    raise
                print(f"{name} is left out: {error}")
                del starts[name]
                for connections in options.connections:
                    found.pop((name, connections), None)
    medians = {key: median(measured) for key, measured in found.items()}
    elsewhere = statistics.mean(one.elsewhere for measured in found.values() for one in measured)
    print(f"\n{machine.describe()}; other work kept {elsewhere:.1f} cores busy\n\n{_table(medians)}\n")
    for line in ratios(medians):
        print(f"- {line}")
    told = {
        "machine": machine.describe(),
        "cores_busy_elsewhere": elsewhere,
        "versions": about,
        "options": {name: getattr(options, name) for name in ("peers", "connections", "seconds", "rounds")},
        "measurements": [
            {"server": name, "connections": connections, "rounds": [asdict(one) for one in measured]}
            for (name, connections), measured in found.items()
        ],
        "ratios": ratios(medians),
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "serving.json").write_text(json.dumps(told, indent=2) + "\n")
    return not any(one.errors for (name, _), one in medians.items() if name in (OURS, RAW, PIXELS))


def _measure(
    name: str, start: Callable[[Path], Server], options: argparse.Namespace, expected: list[float], found: Found
) -> list[float]:
    """Start one server, measure it under each load, stop it. Returns the probabilities that all servers must give."""
    body, content_type = wrk.form(DIGIT.read_bytes())
    requests = {name: wrk.Request("/predict", body, content_type)}
    if name == OURS:
        requests[RAW] = wrk.Request("/predict", DIGIT.read_bytes(), "image/png")
        requests[PIXELS] = wrk.Request("/predict", Image.open(DIGIT).tobytes(), "application/octet-stream")
    with (
        tempfile.TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True) as scratch,
        start(Path(scratch)) as server,
    ):
        server.await_ready(lambda: _probabilities(server, requests[name]) is not None)
        server.settle()
        for request in requests.values():
            expected = _check(_probabilities(server, request), expected)
            wrk.load(server.url, request, WARM_UP_CONNECTIONS, WARM_UP_SECONDS)
        for connections in options.connections:
            for form, request in requests.items():
                _probabilities(server, request)  # is answered after all that was sent before
                found[form, connections].append(measure(server, request, connections, options.seconds))
    return expected


def _probabilities(server: Server, request: wrk.Request) -> list[float] | None:
    """Its ten probabilities for the digit; None while it does not answer."""
    try:
        reply = httpx.post(
            server.url + request.path,
            content=request.body,
            headers={"content-type": request.content_type},
            timeout=REPLY_TIMEOUT_SECONDS,
        )
    except httpx.TransportError:
        return None
    if not reply.is_success:
        return None
    content = reply.json()
    found: list[float] = (content[0] if isinstance(content, list) else content)["probabilities"]
    return found


def _check(found: list[float] | None, expected: list[float]) -> list[float]:
    """Check that a server reads the seven, with the same probabilities as the others. Raises RuntimeError."""
    if found is None:
        raise RuntimeError("it does not answer")
    if found.index(max(found)) != 7:
        raise RuntimeError(f"it reads the seven as {found.index(max(found))}")
    if expected and max(abs(one - other) for one, other in zip(found, expected, strict=True)) > TOLERANCE:
        raise RuntimeError(f"it gives {found}, others {expected}")
    return expected or found


def _table(medians: dict[tuple[str, int], Measurement]) -> str:
    head = ["connections", "server", "requests/s", "ours, times", "p50, ms", "p99, ms"]
    rows = [
        [
            *(str(connections), name, f"{one.rate:,.0f}", _times(medians[OURS, connections].rate, one.rate)),
            *(f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.cpu:.2f}"),
            *(f"{one.pss:,.0f} ({one.rss:,.0f})", str(one.errors)),
        ]
        for (name, connections), one in sorted(medians.items(), key=lambda item: item[0][1])
    ]
    return markdown([*head, "CPU, s/1,000", "PSS (RSS), MB", "errors"], rows)


def ratios(medians: dict[tuple[str, int], Measurement]) -> list[str]:
    """Our service compared with the others at each number of connections, as lines of text."""
    lines = []
    for connections in sorted({number for _, number in medians}):
        at = {name: one for (name, number), one in medians.items() if number == connections}
        peers = {name: one for name, one in at.items() if name not in (OURS, RAW, PIXELS, TUTORIAL)}
        mine, begin = at[OURS], f"at {connections} connection{'s' if connections > 1 else ''}:"
        if peers:
            best = max(peers, key=lambda name: peers[name].rate)
            soonest = min(peers, key=lambda name: peers[name].p99)
            lines += [
                f"{begin} **{_times(mine.rate, peers[best].rate)} times the best peer ({best})**",
                f"{begin} p99 {mine.p99:.2f} ms, {_times(mine.p99, peers[best].p99)} times that of {best}, "
                f"{_times(mine.p99, peers[soonest].p99)} times the lowest ({soonest})",
            ]
        if CAREFUL in at:
            lines.append(f"{begin} p50 {mine.p50:.2f} ms, {_times(mine.p50, at[CAREFUL].p50)} times that of {CAREFUL}")
        if TUTORIAL in at:
            lines.append(f"{begin} {_times(mine.rate, at[TUTORIAL].rate)} times the tutorial")
        bodies = {"raw body": RAW, "784 bytes": PIXELS}
        lines += [f"{begin} {body} {_times(at[name].rate, mine.rate)} times multipart" for body, name in bodies.items()]
    return lines


def _times(one: float, other: float) -> str:
    """One as a multiple of another, which is 0 where a load ended before the first reply."""
    return f"{one / other:,.2f}" if other else "-"
