"""One server under one load of wrk, and the median of several measurements."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from benchmarks import machine, wrk
from benchmarks.processes import Server


@dataclass(frozen=True)
class Measurement:
    """What one load gave.

    Attributes:
        rate: Good replies a second.
        p50: Milliseconds.
        p99: Milliseconds.
        cpu: Seconds of processor time per 1,000 replies.
        rss: MB at the end.
        pss: MB at the end.
        errors: Replies of status 4xx and 5xx, and connections that failed.
        elsewhere: Cores that were busy with neither the server nor the load.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    rss: float
    pss: float
    errors: int
    elsewhere: float


def measure(server: Server, request: wrk.Request, connections: int, seconds: float) -> Measurement:
    """Send a server the same request over some connections for some seconds."""
    before, busy, own = server.cpu_seconds(), machine.busy_seconds(), machine.own_seconds()
    report = wrk.load(server.url, request, connections, seconds)
    cpu, memory = server.cpu_seconds() - before, server.memory()
    others = (machine.busy_seconds() - busy) - (machine.own_seconds() - own) - cpu
    return Measurement(
        rate=report.rate,
        p50=report.p50,
        p99=report.p99,
        cpu=1000 * cpu / max(1, report.replies),
        rss=memory.rss,
        pss=memory.pss,
        errors=report.refused + report.broken,
        elsewhere=max(0.0, others / seconds),
    )


def median(measured: Sequence[Measurement]) -> Measurement:
    """The median of each field, and the sum of errors."""
    columns = {field.name: [getattr(one, field.name) for one in measured] for field in fields(Measurement)}
    middle = {name: statistics.median(values) for name, values in columns.items()}
    return Measurement(**(middle | {"errors": sum(columns["errors"])}))
