"""kill -9 of the worker, the service and both, at random moments of a job: nothing may be lost, or done twice.

Small data and a small network, so that one job takes seconds. Corrections are sent all the time.
"""

import argparse
import contextlib
import gzip
import os
import signal
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import sqlalchemy as sa

from app.registry import store
from benchmarks.service import Service
from training import data
from training.evaluate import png

JOB_REQUEST = {"start": "scratch", "recipe": "dense-512", "epochs": 12, "images": 3000, "force": True}
MAX_KILL_SECONDS = 14.0  # about as long as such a job takes
WAIT_SECONDS = 240.0


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("faults", help=__doc__.splitlines()[0], description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIGITS_DATA"), help="MNIST; default: DIGITS_DATA")
    parser.add_argument("--postgres", help="URL of a PostgreSQL server where databases can be made; default: SQLite")
    parser.add_argument("--times", type=int, default=10, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Kill and check, again and again. Returns False when something was lost or done twice."""
    random = np.random.default_rng(options.seed)
    faults: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="digits-faults-") as folder,
        postgres_or_sqlite(options.postgres) as database,
    ):
        small = small_data(data.load(options.data), Path(folder, "data"))
        settings = {"DIGITS_VERIFY_DATA": "false", "DIGITS_LEASE": "3"} | database
        service = Service(Path(folder), small, settings=settings)
        service.start()
        try:
            with Corrections(service) as corrections:
                for number in range(3 * options.times):
                    kind = ("worker", "service", "both")[number % 3]
                    faults += _one(service, kind, float(random.uniform(0, MAX_KILL_SECONDS)))
            faults += corrections.lost()
        finally:
            service.kill()
    for fault in faults:
        print(f"NO   {fault}")
    print(f"{3 * options.times} kills, {corrections.kept} corrections confirmed, {len(faults)} faults")
    return not faults


def _one(service: Service, kind: str, after: float) -> list[str]:
    with service.client() as client:
        before = store.numbers(service.models)
        job = client.post("/retrain", json=JOB_REQUEST).json()["id"]
        time.sleep(after)
        status = client.get(f"/jobs/{job}").json()["status"]
        killed = time.monotonic()
        if kind != "service" and (worker := service.find("app.retraining.worker")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        if kind != "worker":
            assert service.process is not None
            service.process.kill()
            service.process.wait()
            service.start()
        ready = time.monotonic() - killed
        deadline = time.monotonic() + WAIT_SECONDS
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            found = client.get(f"/jobs/{job}").json()
            if found["status"] not in ("queued", "running"):
                break
            time.sleep(0.1)
        made = [number for number in store.numbers(service.models) if number not in before]
        print(
            f"{kind} killed after {after:.1f} s ({status}), ready after {ready:.1f} s: "
            f"{found['status']}, attempts {found['attempts']}, versions {made}",
            flush=True,
        )
        faults = []
        if found["status"] != "published" or found["version"] not in made:
            faults.append(f"{kind} after {after:.1f} s: the job is {found['status']}: {found['reason']}")
        if len(made) != 1:
            faults.append(f"{kind} after {after:.1f} s: versions {made} were made")
        stray = [path.name for path in service.models.iterdir() if not path.name.isdecimal() and path.name != "CURRENT"]
        if stray:
            faults.append(f"{kind} after {after:.1f} s: left in the models' folder: {stray}")
        deadline = time.monotonic() + 5
        while client.get("/health/ready").json()["model"]["version"] != found["version"]:
            if time.monotonic() > deadline:
                faults.append(f"{kind} after {after:.1f} s: version {found['version']} does not serve")
                break
            time.sleep(0.1)
        return faults


class Corrections:
    """Sends corrections, and remembers those that were confirmed."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._confirmed: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)

    @property
    def kept(self) -> int:
        return len(self._confirmed)

    def __enter__(self) -> "Corrections":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _send(self) -> None:
        random = np.random.default_rng(0)
        while not self._ended.wait(0.2):
            image = np.zeros((28, 28), np.uint8)
            image[6:22, 6:22] = random.integers(0, 256, (16, 16))
            label = int(random.integers(10))
            with contextlib.suppress(httpx.HTTPError), self._service.client() as client:
                reply = client.post("/feedback", files={"file": png(image)}, data={"label": str(label)})
                if reply.is_success:
                    self._confirmed[reply.json()["id"]] = label

    def lost(self) -> list[str]:
        """The corrections that were confirmed and are gone, as messages."""
        found: dict[int, int] = {}
        after: int | None = 0
        with self._service.client() as client:
            while after is not None:
                page = client.get("/feedback", params={"after": after, "limit": 500}).json()
                found |= {kept["id"]: kept["label"] for kept in page["feedback"]}
                after = page["next"]
        return [
            f"correction {number} is lost" for number, label in self._confirmed.items() if found.get(number) != label
        ]


@contextlib.contextmanager
def postgres_or_sqlite(postgres: str | None) -> Any:
    """The setting for an empty database."""
    if not postgres:
        yield {}
        return
    server = sa.make_url(postgres).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"digits_{uuid.uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield {"DIGITS_DATABASE_URL": server.set(database=name).render_as_string(hide_password=False)}
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def small_data(digits: data.Digits, folder: Path) -> Path:
    """The first images of MNIST as a data set of its own."""
    folder.mkdir()
    for prefix, split in (("train", digits.train[:6000]), ("t10k", digits.test[:1000])):
        for kind, values in (("images-idx3", split.images), ("labels-idx1", split.labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder
