"""Prometheus metrics of one service process, or of several together."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.inference.rejection import RejectionReason

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts requests, latencies, batch sizes and rejected pictures, and shows the version that serves.

    Each app has a registry of its own. Processes that share the folder PROMETHEUS_MULTIPROC_DIR each expose the sums
    over all of them. Gauges show the process that lags: the lowest version that serves, and 1 for
    ``digits_model_behind`` if any process is behind.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """Register all metrics."""
        if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            _forget_dead_processes(Path(folder))
        self._registry = CollectorRegistry()
        labels = ("method", "path", "status")
        self._requests = Counter("digits_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "digits_request_seconds",
            "Time from a request's headers to the end of its reply.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "digits_batch_images", "Images in one run of the network.", buckets=_IMAGES, registry=self._registry
        )
        self._rejected = [
            Counter(name, "Pictures whose answer was rejected.", ("reason",), registry=self._registry)
            for name in ("digits_rejected", "digits_declined")  # the second is the old name, for one release
        ]
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        for counter in self._rejected:
            for reason in RejectionReason:
                counter.labels(reason)  # exposed as 0 from the start
        self._version = Gauge(
            "digits_model_version",
            "The version that serves.",
            ("name",),
            registry=self._registry,
            multiprocess_mode="livemin",
        )
        self._behind = Gauge(
            "digits_model_behind",
            "1 while the version that CURRENT names does not serve.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._failed_loads = Counter(
            "digits_model_load_failures", "Versions that could not be loaded.", registry=self._registry
        )

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Args:
            method: HTTP method.
            path: Pattern of the route, not the path itself, so that the number of series is bounded.
            status: HTTP status of the reply.
            seconds: Time from the request's headers to the end of its reply.
        """
        # prometheus_client's look-up of a series by its labels costs as much as counting, so series are cached.
        requests, latencies = self._series.get((method, path, status)) or self._add_series(method, path, status)
        requests.inc()
        latencies.observe(seconds)

    def _add_series(self, method: str, path: str, status: int) -> tuple[Counter, Histogram]:
        series = self._requests.labels(method, path, str(status)), self._seconds.labels(path)
        self._series[method, path, status] = series
        return series

    def batch(self, images: int) -> None:
        """Count a run of the network."""
        self._batches.observe(images)

    def rejected(self, reason: RejectionReason) -> None:
        """Count a rejected picture."""
        for counter in self._rejected:
            counter.labels(reason).inc()

    def serving(self, name: str, version: int) -> None:
        """Note that this version serves."""
        self._version.labels(name).set(version)
        self._behind.set(0)

    def behind(self) -> None:
        """Note that CURRENT names another version than the one that serves."""
        self._behind.set(1)

    def load_failed(self) -> None:
        """Count a version that could not be loaded."""
        self._failed_loads.inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead_processes(folder: Path) -> None:
    """Remove the gauges of processes that have ended. Their counters stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
