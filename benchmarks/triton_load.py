"""Load by Triton's own client, as a program of its own: only an environment with that client can run it.

``python benchmarks/triton_load.py HOST:PORT SECONDS ROUNDS`` prints a line of JSON for each measurement. The calls of
/predict go through the HTTP client that lies under Triton's, so that both have the same.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from geventhttpclient import HTTPClient

RAW = "application/octet-stream"


def main() -> None:
    """Measure by turns, so that all have the same share of a machine that others use."""
    address, seconds, rounds = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    host, port = address.split(":")
    images = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(-1, 28, 28)
    plain = HTTPClient(host, int(port), network_timeout=60)
    client = triton.InferenceServerClient(address)

    def predict(count: int) -> Callable[[], Any]:
        path, body = ("/predict" if count == 1 else "/predict/batch"), images[:count].tobytes()

        def call() -> None:
            reply = plain.post(path, body=body, headers={"content-type": RAW})
            answer = json.loads(reply.read())
            assert reply.status_code == 200, answer

        return call

    def infer(count: int, datatype: str) -> Callable[[], Any]:
        values = images[:count] if datatype == "UINT8" else images[:count].astype(np.float32) / 255
        tensor = triton.InferInput("image", list(values.shape), datatype)
        tensor.set_data_from_numpy(values)
        return lambda: client.infer("digits", [tensor]).as_numpy("probabilities")

    calls = {("/predict", 1): predict(1), ("/predict/batch", 64): predict(64)}
    calls |= {(f"tritonclient, {kind}", count): infer(count, kind) for count in (1, 64) for kind in ("UINT8", "FP32")}
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            rates[key].append(_rate(call, seconds))
    for (name, count), found in rates.items():
        print(json.dumps({"call": name, "images": count, "rate": statistics.median(found)}))


def _rate(call: Callable[[], Any], seconds: float) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        call()
        count += 1
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
