"""The images: a minute under load in 512 MB, stops under load, and retraining by Compose with the worker killed.

Needs the images (`make image`) and Docker Compose; `--postgres` names the image that runs the database's part again.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service import ROOT, TOKEN, Load
from training import data
from training.evaluate import png

RESTRICTED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
RESTRICTED += ["--user", "10001", "--memory", "512m", "--network", "host", "--env", f"DIGITS_ADMIN_TOKEN={TOKEN}"]
CORRECTION_COUNT = 50
JOB_REQUEST = {"start": "current", "epochs": 3, "images": 10_000, "force": True}


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("docker", help=__doc__.splitlines()[0], description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIGITS_DATA"), help="MNIST; default: DIGITS_DATA")
    parser.add_argument("--postgres", metavar="IMAGE", help="such as postgres:17")
    parser.add_argument("--seconds", type=float, default=60, help="under load")
    parser.add_argument("--stops", type=int, default=5)
    parser.add_argument("--rate", type=float, default=100, help="predictions a second")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Run all parts. Returns False when something that must hold did not."""
    digits = data.load(options.data)
    images = [png(image) for image in digits.test.images[:1000]]
    held = _sizes()
    held |= _restricted(images, options.rate, options.seconds)
    held |= _stops(images, options.rate, options.stops)
    for database in (None, options.postgres) if options.postgres else (None,):
        held |= _story(options.data, digits, database)
    for claim, true in held.items():
        print(f"{'yes' if true else 'NO '}  {claim}")
    return all(held.values())


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def _sizes() -> dict[str, bool]:
    base = re.findall(r"^FROM (\S+) AS base$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    sizes = {name: int(_docker("inspect", "--format", "{{.Size}}", name)) for name in (base, "digits", "digits-train")}
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:.0f} MB, {(size - sizes[base]) / 1e6:.0f} MB beyond the base")
    look = "cd /opt/digits/lib/python3*/site-packages && du --summarize --block-size 100K -- * | sort -rn | head -10"
    for line in _docker("run", "--rm", "digits", "sh", "-c", look).splitlines():
        tenths, name = line.split()
        print(f"  {int(tenths) / 10:5.1f} MB  {name}")
    return {"serve at most 450 MB beyond its base": sizes["digits"] - sizes[base] <= 450e6}


class Container:
    """The service in a restricted container. On the host's network a refused connection is seen as such."""

    def __init__(self, port: int) -> None:
        self.port = port
        command = ["python", "-m", "app", "--port", str(port), "--seed"]
        self.id = _docker("run", "--detach", *RESTRICTED, "digits", *command)
        _await_ready(self.url)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def remove(self) -> None:
        _docker("rm", "--force", "--volumes", self.id)


def _await_ready(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/ready").is_success:
                return
        assert time.monotonic() < deadline, "the service does not get ready"
        time.sleep(0.1)


def _restricted(images: list[bytes], rate: float, seconds: float) -> dict[str, bool]:
    """Single images at a fixed rate, beside them batches of 1,000, one after the other, and corrections."""
    container = Container(_free_port())
    ended, batches = threading.Event(), 0
    failed: list[str] = []

    def send_batches() -> None:
        nonlocal batches
        with httpx.Client(base_url=container.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
            while not ended.is_set():
                files = [("file", ("image.png", image, "image/png")) for image in images]
                replies = [client.post("/predict/batch", files=files)]
                replies.append(client.post("/feedback", files={"file": images[batches % 1000]}, data={"label": "7"}))
                failed.extend(reply.text for reply in replies if not reply.is_success)
                batches += 1

    try:
        sender = threading.Thread(target=send_batches)
        with Load(container, images, rate) as load:
            sender.start()
            time.sleep(seconds)
            ended.set()
            sender.join()
        p50, p99, count = load.percentiles(0, seconds)
        used = _docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container.id)
        state = json.loads(_docker("inspect", "--format", "{{json .State}}", container.id))
        print(f"{seconds:.0f} s in 512 MB: {count:,} single replies, p50 {p50:.1f} ms, p99 {p99:.1f} ms, beside them")
        print(f"  {batches} batches of 1,000; {len(load.failed) + len(failed)} failed; memory at the end {used}")
        return {
            "restricted, in 512 MB under load: no failure": not load.failed and not failed,
            "and still running": state["Running"] and not state["OOMKilled"],
        }
    finally:
        container.remove()


def _stops(images: list[bytes], rate: float, stops: int) -> dict[str, bool]:
    statuses, times, failed, answered = [], [], [], 0
    for _ in range(stops):
        container = Container(_free_port())
        try:
            with Load(container, images, rate) as load:
                time.sleep(2)
                began = time.monotonic()
                _docker("stop", container.id)
                times.append(time.monotonic() - began)
            answered += len(load.answers)
            failed += [failure for failure in load.failed if "ConnectionRefusedError" not in failure]
            statuses.append(_docker("inspect", "--format", "{{.State.ExitCode}}", container.id))
        finally:
            container.remove()
    print(f"{stops} stops under load: statuses {statuses}, within {max(times):.1f} s, {answered:,} replies, {failed}")
    return {
        "docker stop: none failed but were refused": not failed,
        "status 0 within 10 s": set(statuses) == {"0"} and max(times) < 10,
    }


class Project:
    """The Compose file in a folder of its own, as a project of its own."""

    def __init__(self, folder: Path, postgres: str | None) -> None:
        self._folder, self._port = folder, _free_port()
        for name in ("docker-compose.yml", "Dockerfile"):
            shutil.copy(ROOT / name, folder)
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        lines = [f"DIGITS_ADMIN_TOKEN={TOKEN}", f"DIGITS_PUBLISH=127.0.0.1:{self._port}"]
        lines += [f"COMPOSE_PROJECT_NAME=digits-{folder.name[-8:].lower().replace('_', 'x')}"]
        if postgres:
            page = (ROOT / "docs" / "operations.md").read_text()
            lines += re.findall(r"^```ini\n(.*?)\n```", page, re.MULTILINE | re.DOTALL)
            (folder / "override.yml").write_text(f"services: {{postgres: {{image: {postgres}}}}}\n")
            lines += ["COMPOSE_FILE=docker-compose.yml:override.yml"]
        (folder / ".env").write_text("\n".join(lines) + "\n")
        self._plugin = not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode  # noqa: S607
        self.url = f"http://127.0.0.1:{self._port}"

    def compose(self, *arguments: str) -> str:
        program = ["docker", "compose"] if self._plugin else ["docker-compose"]
        done = subprocess.run([*program, *arguments], cwd=self._folder, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def id(self, service: str) -> str:
        return self.compose("ps", "--quiet", service)


@contextmanager
def _project(postgres: str | None) -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="digits-docker-") as folder:
        project = Project(Path(folder), postgres)
        try:
            yield project
        finally:
            project.compose("down", "--volumes")


def _story(mnist: Path, digits: data.Digits, postgres: str | None) -> dict[str, bool]:
    """Start, correct, retrain while the worker is killed twice, serve the result without a restart, stop, start."""
    where = "PostgreSQL" if postgres else "SQLite"
    with _project(postgres) as project:
        project.compose("up", "--detach")
        _await_ready(project.url)
        with httpx.Client(base_url=project.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
            _docker("cp", f"{mnist}/.", f"{project.id('worker')}:/data")
            _await(lambda: client.get("/jobs").is_success)
            for image, label in zip(
                digits.train.images[:CORRECTION_COUNT], digits.train.labels[:CORRECTION_COUNT], strict=True
            ):
                client.post("/feedback", files={"file": png(image)}, data={"label": str(label)}).raise_for_status()
            _await(lambda: client.post("/retrain", json=JOB_REQUEST).is_success)
            began = time.monotonic()
            path = f"/jobs/{client.get('/jobs').json()['jobs'][0]['id']}"
            serving = _docker("inspect", "--format", "{{.State.StartedAt}}", project.id("api"))

            # First killed by Docker and started again by an operator, then ended by a fault and restarted by Docker.
            _await(lambda: ((client.get(path).json()["progress"] or {}).get("epoch") or 0) >= 2)
            worker = project.id("worker")
            _docker("kill", worker)
            print(f"{where}: worker killed {time.monotonic() - began:.0f} s after /retrain")
            time.sleep(3)
            project.compose("up", "--detach")
            _await(lambda: client.get(path).json()["attempts"] == 2 or client.get(path).json()["status"] != "running")
            found = client.get(path).json()
            print(f"  then {found['status']}, attempt {found['attempts']}, {found['progress']}")
            _docker("exec", worker, "python", "-c", "import os; os.kill(-1, 9)")
            with client.stream("GET", f"{path}/events", timeout=3600) as events:
                kinds = [line[7:] for line in events.iter_lines() if line.startswith("event: ")]
            job = client.get(path).json()
            print(f"  {job['status']} {time.monotonic() - began:.0f} s after /retrain; events {sorted(set(kinds))}")
            _await(lambda: client.get("/health/ready").json()["model"]["version"] == job["version"])
            same = serving == _docker("inspect", "--format", "{{.State.StartedAt}}", project.id("api"))
            restarts = _docker("inspect", "--format", "{{.RestartCount}}", worker)
            before = [client.get(url).json() for url in ("/jobs", "/feedback", "/models")]
            project.compose("down")
            project.compose("up", "--detach")
            _await_ready(project.url)
            _await(lambda: client.get("/jobs").is_success)
            after = [client.get(url).json() for url in ("/jobs", "/feedback", "/models")]
            return {
                f"{where}: the job of a killed worker goes on and is published": job["status"] == "published",
                f"{where}: served without a restart": same,
                f"{where}: a worker that ends by a fault is started again": restarts == "1",
                f"{where}: versions, jobs and corrections outlive down and up": before == after,
            }


def _await(condition: Any, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
