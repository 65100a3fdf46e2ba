"""Prometheus metrics, of one service process or of several together."""

import os
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.inference.rejection import RejectionReason

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


# How the patterns of paths end that pictures are sent to, in all protocols.
_PREDICTION_PATHS = ("/predict", "/predict/batch", "/infer", ":predict")


@dataclass(frozen=True)
class PredictionTotals:
    """What was asked of the model since the start, in all processes.

    Attributes:
        answered: Calls of status 200.
        failed: Calls of any other status.
        seconds: For which all these calls took.
        images: That the network was given.
        runs: Of the network.
    """

    answered: int
    failed: int
    seconds: float
    images: int
    runs: int


class Metrics:
    """Requests, latencies, batch sizes, rejected pictures, the version serving. One registry an app: nothing is global.

    Where PROMETHEUS_MULTIPROC_DIR names a folder, all processes with the same one count there, and each tells the
    sums of all. Of what is a state, not a count, it tells that of the process that is behind: the lowest version
    that serves, and whether any is not the one that should.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """Register all metrics, told as 0 from the start."""
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
            Counter(name, "Pictures whose answer was not accepted.", ("reason",), registry=self._registry)
            for name in ("digits_rejected", "digits_declined")  # the second is the old name, for one release
        ]
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        for counter in self._rejected:
            for reason in RejectionReason:
                counter.labels(reason)  # told from the start, as 0
        self._version = Gauge(
            "digits_model_version",
            "The version that serves.",
            ("name",),
            registry=self._registry,
            multiprocess_mode="livemin",
        )
        self._behind = Gauge(
            "digits_model_behind",
            "1 while what CURRENT names is not what serves.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._failed_loads = Counter(
            "digits_model_load_failures", "Versions that did not load.", registry=self._registry
        )

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """path: the route's pattern, never the raw path, so that the number of series is bounded."""
        # Finding a series by its labels costs as much as counting in it.
        requests, times = self._series.get((method, path, status)) or self._find(method, path, status)
        requests.inc()
        times.observe(seconds)

    def _find(self, method: str, path: str, status: int) -> tuple[Counter, Histogram]:
        found = self._requests.labels(method, path, str(status)), self._seconds.labels(path)
        self._series[method, path, status] = found
        return found

    def batch(self, images: int) -> None:
        self._batches.observe(images)

    def rejected(self, reason: RejectionReason) -> None:
        for counter in self._rejected:
            counter.labels(reason).inc()

    def serving(self, name: str, version: int) -> None:
        self._version.labels(name).set(version)
        self._behind.set(0)

    def behind(self) -> None:
        """CURRENT names what does not serve, or not yet."""
        self._behind.set(1)

    def load_failed(self) -> None:
        self._failed_loads.inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._of_all_processes())

    def prediction_totals(self) -> PredictionTotals:
        """What was asked of the model. Reads files where there are several processes."""
        answered = failed = seconds = images = runs = 0.0
        for family in self._of_all_processes().collect():
            for sample in family.samples:
                labels = sample.labels
                if "path" in labels and not labels["path"].endswith(_PREDICTION_PATHS):
                    continue
                if sample.name == "digits_requests_total" and labels["method"] == "POST":
                    answered += sample.value if labels["status"] == "200" else 0
                    failed += sample.value if labels["status"] != "200" else 0
                elif sample.name == "digits_request_seconds_sum":
                    seconds += sample.value
                elif sample.name == "digits_batch_images_sum":
                    images += sample.value
                elif sample.name == "digits_batch_images_count":
                    runs += sample.value
        return PredictionTotals(int(answered), int(failed), seconds, int(images), int(runs))

    def _of_all_processes(self) -> CollectorRegistry:
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry


def _forget_dead_processes(folder: Path) -> None:
    """Remove what processes that are gone told of their state. What they counted stays."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
