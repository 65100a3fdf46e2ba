"""Ten workers and twenty jobs: each job runs once, and no two at the same time. Then jobs are cancelled midway."""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from app.registry import store
from benchmarks.faults import postgres_or_sqlite, small_data
from benchmarks.service import Service
from training import data

WORKER_COUNT, JOB_COUNT, CANCELLED_COUNT = 10, 20, 5
JOB_REQUEST = {"start": "scratch", "recipe": "dense-512", "epochs": 1, "images": 1000, "force": True}


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("crowd", help=__doc__, description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIGITS_DATA"), help="MNIST; default: DIGITS_DATA")
    parser.add_argument("--postgres", help="URL of a PostgreSQL server where databases can be made; default: SQLite")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Run the jobs. Returns False when one ran twice, not at all, or at the same time as another."""
    with (
        tempfile.TemporaryDirectory(prefix="digits-crowd-") as folder,
        postgres_or_sqlite(options.postgres) as database,
    ):
        small = small_data(data.load(options.data), Path(folder, "data"))
        settings = {
            "DIGITS_VERIFY_DATA": "false",
            "DIGITS_WORKER": "external",
            "DIGITS_MAX_JOBS": str(JOB_COUNT),
        } | database
        service = Service(Path(folder), small, settings=settings)
        service.start()
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "app.retraining.worker"], env=service.environment(), stderr=subprocess.DEVNULL
            )
            for _ in range(WORKER_COUNT)
        ]
        try:
            return _each_once(service) & _cancelled(service)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
            service.kill()


def _each_once(service: Service) -> bool:
    with service.client() as client:
        numbers = [client.post("/retrain", json=JOB_REQUEST).json()["id"] for _ in range(JOB_COUNT)]
        while any(client.get(f"/jobs/{number}").json()["status"] in ("queued", "running") for number in numbers):
            time.sleep(0.5)
        jobs = [client.get(f"/jobs/{number}").json() for number in numbers]
        events = Counter(
            (number, line)
            for number in numbers
            for line in client.get(f"/jobs/{number}/events").text.splitlines()
            if line in ("event: running", "event: published")
        )
        manifests = [client.get(f"/models/{number}").json()["card"] for number in store.numbers(service.models)[1:]]
    spans = sorted((job["started"], job["finished"]) for job in jobs)
    apart = all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))
    once = set(events.values()) == {1} and len(events) == 2 * JOB_COUNT and len(manifests) == JOB_COUNT
    print(
        f"{WORKER_COUNT} workers, {JOB_COUNT} jobs: {Counter(job['status'] for job in jobs)}, {len(manifests)} versions"
    )
    print(f"{'yes' if once else 'NO '}  each ran once and was published once")
    print(f"{'yes' if apart else 'NO '}  no two at the same time")
    return once and apart


def _cancelled(service: Service) -> bool:
    took = []
    with service.client() as client:
        for number in range(CANCELLED_COUNT):
            job = client.post("/retrain", json=JOB_REQUEST | {"epochs": 1000}).json()["id"]
            while client.get(f"/jobs/{job}").json()["status"] != "running":
                time.sleep(0.05)
            time.sleep(3.0 * number)
            asked = time.monotonic()
            client.delete(f"/jobs/{job}").raise_for_status()
            while client.get(f"/jobs/{job}").json()["status"] != "cancelled":
                time.sleep(0.01)
            took.append(time.monotonic() - asked)
    print(f"cancelled within {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    return max(took) < 2
