"""A service with more requests than it can answer: what it replies, and what other clients notice."""

import http.client
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks import pressure, wrk
from benchmarks.processes import Server
from benchmarks.table import markdown

CONNECTION_COUNT = 1000
DEADLINE_MILLISECONDS = 2000.0  # DIGITS_DEADLINE
MAX_RECOVERY_SECONDS = 2.0
PROBE_SECONDS = 0.2  # between two
NORMAL_REPLIES = 20  # in a row, as fast as before, until the service counts as recovered


def overload(server: Server, request: wrk.Request, seconds: float) -> bool:
    """Overload it, and print what happened. Returns whether all that must hold did."""
    before = pressure.load(server.port, request, 1, 2).replies[200]
    idle = server.memory().pss
    health: list[float] = []
    held: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(pressure.load, server.port, request, CONNECTION_COUNT, seconds)
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            health += [_timed(server.port, path) for path in ("/health/live", "/health/ready")]
            held.append(server.memory().pss)
            time.sleep(PROBE_SECONDS)
        outcome = pressed.result()
    back = _back_to_normal(server, request, 2 * before.p99)
    time.sleep(3)
    accepted = outcome.replies.get(200)
    counts = ", ".join(f"{times.count:,} of status {status}" for status, times in outcome.replies.items())
    rows = [
        ["replies", counts],
        ["connections that broke", str(outcome.broken)],
        *([f"status {status}", _told(times)] for status, times in outcome.replies.items()),
        ["accepted a second", f"{accepted.count / seconds:,.0f}" if accepted else "0"],
        ["health probes", _spread(health)],
        ["PSS before, highest, after, MB", f"{idle:.0f}, {max(held):.0f}, {server.memory().pss:.0f}"],
        ["a single request before", f"p50 {before.p50:.2f} ms, p99 {before.p99:.2f} ms"],
        [f"back to that, {NORMAL_REPLIES} in a row, after", f"{back:.2f} s"],
    ]
    print(markdown([f"{CONNECTION_COUNT:,} connections, {seconds:.0f} s", ""], rows))
    claims = {
        "only 200, 503 and 504, and no connection that broke": set(outcome.replies) <= {200, 503, 504}
        and not outcome.broken,
        "p99 of what was accepted within the deadline": accepted is not None and accepted.p99 <= DEADLINE_MILLISECONDS,
        "back to normal within two seconds": back <= MAX_RECOVERY_SECONDS,
    }
    print("")
    for claim, true in claims.items():
        print(f"{'yes' if true else 'NO '}  {claim}")
    return all(claims.values())


def beside(
    server: Server, request: wrk.Request, others: dict[str, wrk.Request | None], seconds: float, rounds: int
) -> str:
    """How long single requests take while another client sends over one connection without pause.

    Args:
        server: The service.
        request: A single request.
        others: What the other client sends, by name. None is no other client, and comes first.
        seconds: Of each measurement.
        rounds: Measurements of each.

    Returns:
        A table that compares each with the first.
    """
    found: dict[str, list[pressure.Times]] = {name: [] for name in others}
    sent: dict[str, list[float]] = {name: [0.0] for name in others}
    for _ in range(rounds):
        for name, other in others.items():
            with ThreadPoolExecutor(1) as pool:
                # A second longer, so that it sends before and after.
                load = pool.submit(wrk.load, server.url, other, 1, seconds + 1) if other else None
                time.sleep(0.5)
                found[name].append(pressure.load(server.port, request, 1, seconds, first=True).replies[200])
                if load:
                    sent[name].append(load.result().rate)
    middle = {
        name: [statistics.median(values) for values in zip(*((one.p50, one.p99) for one in times), strict=True)]
        for name, times in found.items()
    }
    p50, p99 = next(iter(middle.values()))
    rows = [
        [
            *(name, f"{one[0]:.2f}", f"{one[1]:.2f}", f"{one[0] / p50:.2f}", f"{one[1] / p99:.2f}"),
            f"{max(times.p99 for times in found[name]) / p99:.2f}",
            f"{statistics.median(sent[name]):.1f}",
        ]
        for name, one in middle.items()
    ]
    head = [
        "other client",
        "p50, ms",
        "p99, ms",
        "p50, ratio",
        "p99, ratio",
        "p99 in the worst round",
        "its calls a second",
    ]
    return markdown(head, rows)


def _back_to_normal(server: Server, request: wrk.Request, normal: float) -> float:
    """Seconds until NORMAL_REPLIES single requests in a row are answered within ``normal`` milliseconds; at most 30."""
    began = time.monotonic()
    first, row = 0.0, 0
    while row < NORMAL_REPLIES and time.monotonic() < began + 30:
        sent = time.monotonic() - began
        took = _timed(server.port, request.path, request)
        first, row = (first if row else sent, row + 1) if took <= normal else (0.0, 0)
    return first if row else 30.0


def _timed(port: int, path: str, request: wrk.Request | None = None) -> float:
    """Milliseconds of one request over a connection of its own; infinite where it fails."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        if request:
            connection.request("POST", path, request.body, {"Content-Type": request.content_type})
        else:
            connection.request("GET", path)
        reply = connection.getresponse()
        reply.read()
    except (OSError, http.client.HTTPException):
        return float("inf")
    finally:
        connection.close()
    return (time.perf_counter() - began) * 1000 if reply.status == 200 else float("inf")


def _told(times: pressure.Times) -> str:
    return f"p50 {times.p50:.1f} ms, p99 {times.p99:.1f} ms, longest {times.longest:.1f} ms"


def _spread(milliseconds: list[float]) -> str:
    good = [value for value in milliseconds if value < float("inf")]
    p50, p99 = np.percentile(good, (50, 99)) if good else (0, 0)
    told = f"{len(good)} answered, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(good, default=0):.1f} ms"
    return f"{told}; {len(milliseconds) - len(good)} failed"
