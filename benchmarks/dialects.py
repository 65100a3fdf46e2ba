"""The client dialects beside /predict: requests a second of the same images, one and 64 in a call."""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import ours, pictures, wrk
from benchmarks.measurement import measure
from benchmarks.processes import Server
from benchmarks.service import ROOT
from benchmarks.table import markdown

RAW, JSON = "application/octet-stream", "application/json"

# Binary calls of 64 images must be at least this fast beside plain bytes to /predict/batch.
LEAST_SHARE = 0.8

CLIENTS = ROOT / ".venv-clients/bin/python"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("dialects", help="the client dialects beside /predict")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--clients", type=Path, default=CLIENTS, help="Python with tritonclient (make test-clients)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Measure both dialects with wrk, then v2 with Triton's client, and print the tables."""
    images = pictures.small(64)
    with tempfile.TemporaryDirectory() as scratch, ours.start(Path(scratch)) as server:
        server.await_ready(lambda: ours.ready(server))
        shares = _by_wrk(server, images, options.seconds, options.rounds)
        if options.clients.exists():
            _by_tritonclient(server, images, options)
        else:
            print(f"\n{options.clients} is not there, so Triton's client is left out: make test-clients")
    held = shares["v2 UINT8, binary"] >= LEAST_SHARE
    print(f"\n{'yes' if held else 'no '}  64 binary images at least {LEAST_SHARE:.0%} of plain bytes to /predict/batch")
    return held


def requests(images: NDArray[np.uint8]) -> dict[str, wrk.Request]:
    """The same images for each call, by its name."""
    count, path = len(images), "/predict" if len(images) == 1 else "/predict/batch"
    pixels: dict[str, object] = {"pixels": images[0].tolist() if count == 1 else images.tolist()}
    fractions = (images / 255).round(4)
    tensor = {"name": "image", "shape": [count, 28, 28], "datatype": "UINT8", "data": images.ravel().tolist()}
    return {
        f"{path}, bytes": wrk.Request(path, images.tobytes(), RAW),
        f"{path}, JSON": wrk.Request(path, json.dumps(pixels).encode(), JSON),
        "v2 UINT8, binary": _binary("UINT8", images),
        "v2 FP32, binary": _binary("FP32", (images / 255).astype("<f4")),
        "v2 UINT8, JSON": wrk.Request("/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode(), JSON),
        "v1 instances": wrk.Request(
            "/v1/models/digits:predict", json.dumps({"instances": fractions.tolist()}).encode(), JSON
        ),
    }


def _binary(datatype: str, values: NDArray[np.generic]) -> wrk.Request:
    content = values.tobytes()
    tensor = {
        "name": "image",
        "shape": list(values.shape),
        "datatype": datatype,
        "parameters": {"binary_data_size": len(content)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = (("Inference-Header-Content-Length", str(len(head))),)
    return wrk.Request("/v2/models/digits/infer", head + content, RAW, headers)


def _by_wrk(server: Server, images: NDArray[np.uint8], seconds: float, rounds: int) -> dict[str, float]:
    """Print a table, and return how fast calls of all images are, as a share of plain bytes."""
    rows, shares = [], dict[str, float]()
    for count in (1, len(images)):
        calls = requests(images[:count])
        rates: dict[str, list[float]] = {name: [] for name in calls}
        times: dict[str, list[float]] = {name: [] for name in calls}
        errors = 0
        for _ in range(rounds):  # by turns, so that all have the same share of the machine
            for name, request in calls.items():
                measured = measure(server, request, 4, seconds)
                rates[name].append(measured.rate)
                times[name].append(measured.cpu)
                errors += measured.errors
        assert not errors, f"{errors} requests failed"
        plain = statistics.median(next(iter(rates.values())))
        for name, found in rates.items():
            shares[name] = statistics.median(found) / plain
            rate = statistics.median(found)
            cpu = f"{statistics.median(times[name]):.2f}"
            rows.append([name, str(count), f"{rate:,.0f}", f"{rate * count:,.0f}", f"{shares[name]:.0%}", cpu])
    print("wrk, 4 connections\n")
    print(markdown(["call", "images", "requests/s", "images/s", "of plain bytes", "CPU, ms"], rows))
    return shares


def _by_tritonclient(server: Server, images: NDArray[np.uint8], options: argparse.Namespace) -> None:
    program = Path(__file__).with_name("triton_load.py")
    command = [options.clients, program, f"127.0.0.1:{server.port}", str(options.seconds), str(options.rounds)]
    done = subprocess.run(command, input=images.tobytes(), stdout=subprocess.PIPE, check=True)  # noqa: S603  # our own
    rows = []
    for line in done.stdout.decode().splitlines():
        found = json.loads(line)
        images_rate = found["rate"] * found["images"]
        rows.append([found["call"], str(found["images"]), f"{found['rate']:,.0f}", f"{images_rate:,.0f}"])
    print("\nTriton's client, one connection\n")
    print(markdown(["call", "images", "requests/s", "images/s"], rows))
