"""An operator's story: digits in a style that the model cannot read, corrections, retraining, activating versions.

Several clients send predictions all the time. At the end, replies are compared with what their version answers when it
is asked again.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.service import Load, Service, accuracy
from training import data
from training.evaluate import png

CORRECTION_COUNT = 300
IDLE_SECONDS = 30.0
MAX_REPEATED = 500  # replies of a version


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("story", help=__doc__.splitlines()[0], description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIGITS_DATA"), help="MNIST; default: DIGITS_DATA")
    parser.add_argument(
        "--style", choices=("mirrored", "turned"), default="mirrored", help="sevens, or all digits by 60°"
    )
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--rate", type=float, default=50, help="predictions a second")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Run the story. Returns False when something that must hold did not."""
    digits = data.load(options.data)
    learned, validation = digits.held_out()
    random = np.random.default_rng(0)
    ones = np.ones(10) if options.style == "turned" else np.eye(10)[7]

    def in_style(images: NDArray[np.uint8], labels: NDArray[np.uint8], count: int) -> tuple[Any, Any]:
        fit = np.flatnonzero(ones[labels])
        chosen = random.choice(fit, count, replace=False)
        return np.stack([_STYLES[options.style](image) for image in images[chosen]]), labels[chosen]

    corrections, their_labels = in_style(learned.images, learned.labels, CORRECTION_COUNT)
    held_out, held_out_labels = in_style(validation.images, validation.labels, 1000)
    images = [png(image) for image in digits.test.images[:1000]]
    held: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="digits-story-") as folder:
        service = Service(Path(folder), options.data, options.workers)
        service.start()
        try:
            with service.client() as client, Load(service, images, options.rate) as load:
                found = _tell(client, load, (corrections, their_labels), (held_out, held_out_labels), digits)
                held = found | _replay(client, load, images) | {"no failed request": not load.failed}
                print(f"{len(load.answers):,} replies, {len(load.failed)} failed requests")
                for failure in load.failed[:5]:
                    print(f"  {failure}")
        finally:
            service.kill()
    for claim, true in held.items():
        print(f"{'yes' if true else 'NO '}  {claim}")
    return all(held.values())


def _tell(client: httpx.Client, load: Load, corrections: Any, held_out: Any, digits: data.Digits) -> dict[str, bool]:
    time.sleep(1)
    idle = load.now()
    time.sleep(IDLE_SECONDS)
    idle_end = load.now()
    test = digits.test
    before, mnist_before = accuracy(client, *held_out), accuracy(client, test.images, test.labels)
    print(f"version 1: {before:.1%} of the style, {mnist_before:.2%} of the MNIST test images")
    for image, label in zip(*corrections, strict=True):
        client.post("/feedback", files={"file": png(image)}, data={"label": str(label)}).raise_for_status()
    job = client.post("/retrain").json()
    training = load.now()
    follow(client, job["id"])
    training_end = load.now()
    job = client.get(f"/jobs/{job['id']}").json()
    print(f"job {job['status']} after {training_end - training:.0f} s: {job['reason']}")
    if job["status"] != "published":
        return {"the candidate is published": False}
    _await_version(client, job["version"])
    after, mnist_after = accuracy(client, *held_out), accuracy(client, test.images, test.labels)
    print(f"version {job['version']}: {after:.1%} of the style, {mnist_after:.2%} of the MNIST test images")
    client.post("/models/1/activate").raise_for_status()
    _await_version(client, 1)
    back = accuracy(client, *held_out)
    client.post(f"/models/{job['version']}/activate").raise_for_status()
    _await_version(client, job["version"])
    forth = accuracy(client, *held_out)
    worse = client.post("/retrain", json={"start": "scratch", "epochs": 1, "images": 500}).json()
    follow(client, worse["id"])
    rejected = client.get(f"/jobs/{worse['id']}").json()
    print(f"a worse candidate is {rejected['status']}: {rejected['reason']}")
    forced_job = client.post("/retrain", json={"start": "scratch", "epochs": 1, "images": 500, "force": True}).json()
    follow(client, forced_job["id"])
    forced = client.get(f"/jobs/{forced_job['id']}").json()
    print(f"with force it is {forced['status']}: {forced['reason']}")
    _await_version(client, forced["version"])
    marked = client.get(f"/models/{forced['version']}").json()["card"]["verdict"]
    client.post(f"/models/{job['version']}/activate").raise_for_status()
    _await_version(client, job["version"])
    p50, p99, count = load.percentiles(idle, idle_end)
    p50_training, p99_training, count_training = load.percentiles(training, training_end)
    print(f"idle: p50 {p50:.2f} ms, p99 {p99:.2f} ms ({count:,} requests)")
    print(f"during training: p50 {p50_training:.2f} ms, p99 {p99_training:.2f} ms ({count_training:,} requests)")
    return {
        "the style from under 60 % to over 90 %": before < 0.6 and after > 0.9,
        "MNIST test within 0.1 point": abs(mnist_after - mnist_before) <= 0.001,
        "back and forth by activation": back == before and forth == after,
        "a worse candidate is rejected with figures": rejected["status"] == "rejected"
        and "significantly worse" in rejected["reason"],
        "with force it is published and marked": forced["status"] == "published"
        and marked["forced"]
        and not marked["passed"],
        "p99 during training at most 3 times idle": p99_training <= 3 * p99,
    }


def follow(client: httpx.Client, job: int) -> None:
    """Read a job's events to the last."""
    with client.stream("GET", f"/jobs/{job}/events", timeout=3600) as stream:
        shown = ""
        for line in stream.iter_lines():
            if line.startswith("event: ") and line != shown:
                shown = line
                print(f"  {line.removeprefix('event: ')}", flush=True)


def _await_version(client: httpx.Client, version: int) -> None:
    """Wait until every process serves it: they change within 2 seconds of the first."""
    while client.get("/health/ready").json()["model"]["version"] != version:
        time.sleep(0.05)
    time.sleep(2)


def _replay(client: httpx.Client, load: Load, images: list[bytes]) -> dict[str, bool]:
    """Ask each version again for a sample of what it answered under load."""
    by_version = defaultdict(list)
    for answer in list(load.answers):
        by_version[answer.version].append(answer)
    listed = {model["version"] for model in client.get("/models").json()["models"]}
    same = total = 0
    for version, answers in sorted(by_version.items()):
        client.post(f"/models/{version}/activate").raise_for_status()
        _await_version(client, version)
        chosen = np.random.default_rng(0).permutation(len(answers))[:MAX_REPEATED]
        for answer in (answers[index] for index in chosen):
            reply = client.post("/predict", files={"file": images[answer.image]}).json()
            same += reply["model"]["version"] == version and tuple(reply["probabilities"]) == answer.probabilities
            total += 1
    print(f"{same:,} of {total:,} replies replayed to the same probabilities, on versions {sorted(by_version)}")
    return {"every reply's version exists": set(by_version) <= listed, "and replays to the same": same == total}


def _turned(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).rotate(60, Image.Resampling.BILINEAR))


def _mirrored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[:, ::-1])


_STYLES = {"turned": _turned, "mirrored": _mirrored}
