"""Calls of the client dialects that are good, and then changed at random: each is answered, or refused in its shape."""

import argparse
import base64
import copy
import dataclasses
import gzip
import http.client
import json
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.service import ROOT
from benchmarks.table import markdown

SEVEN = (ROOT / "tests/images/seven-28x28.png").read_bytes()

V1, V2 = "/v1/models/digits", "/v2/models/digits"
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Call:
    """A POST. made: of what, for people."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    made: str = ""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("mutations", help="calls of the client dialects, changed at random")
    parser.add_argument("--calls", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Send them to a service of its own, and print what it answered."""
    statuses: Counter[tuple[str, int]] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch, ours.start(Path(scratch), "--workers", "1") as server:
        server.await_ready(lambda: ours.ready(server))
        before = server.memory().rss
        for call in Mutations(options.seed).calls(options.calls):
            began = time.perf_counter()
            status, media_type, body = _send(server.port, call)
            slowest = max(slowest, time.perf_counter() - began)
            statuses[call.path[:3], status] += 1
            if status >= 500 or not _is_in_shape(status, media_type, body):
                wrong.append(f"{status} {media_type} {body[:200]!r} to {call}"[:1000])
        memory = server.memory().rss
        still = _send(server.port, good_calls()[0])[0]
    rows = [[dialect, str(status), f"{count:,}"] for (dialect, status), count in sorted(statuses.items())]
    print(markdown(["dialect", "status", "calls"], rows))
    print(f"\nslowest {slowest * 1000:.0f} ms; RSS before and after {before:.0f} and {memory:.0f} MB")
    for text in wrong[:10]:
        print(f"wrong: {text}")
    held = not wrong and still == http.HTTPStatus.OK
    print(f"{'yes' if held else 'no '}  no status 5xx, each error in the dialect's shape, and it goes on answering")
    return held


def _send(port: int, call: Call) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", call.path, call.body, call.headers)
        reply = connection.getresponse()
        return reply.status, reply.headers.get("content-type", ""), reply.read()
    finally:
        connection.close()


def _is_in_shape(status: int, media_type: str, body: bytes) -> bool:
    """Whether a reply is a good one, or one with an error as these clients read it."""
    if status == http.HTTPStatus.OK:
        return media_type in ("application/json", "application/octet-stream")
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return media_type == "application/json" and [*found] == ["error"] and isinstance(found["error"], str)


def good_calls() -> list[Call]:
    """One call of each kind, which all are answered."""
    image = np.zeros((28, 28), np.uint8)
    image[4:7, 6:22] = image[4:24, 17:20] = 255
    fractions = (image / 255).astype(np.float32)
    pictures = [SEVEN, SEVEN]
    texts = [base64.b64encode(one).decode() for one in pictures]
    elements = b"".join(struct.pack("<I", len(one)) + one for one in pictures)
    outputs = [{"name": name} for name in ("probabilities", "digit", "confidence", "accepted", "reason")]
    classes = [{"name": "probabilities", "parameters": {"classification": 3, "binary_data": True}}]

    def v2(datatype: str, shape: list[int], data: Any, **others: Any) -> Call:
        tensor = {"name": "image", "datatype": datatype, "shape": shape, "data": data}
        return Call(f"{V2}/infer", _json({"id": "1", "inputs": [tensor], **others}))

    def v2_binary(datatype: str, shape: list[int], content: bytes, **others: Any) -> Call:
        parameters = {"binary_data_size": len(content)}
        tensor = {"name": "image", "datatype": datatype, "shape": shape, "parameters": parameters}
        head = _json({"inputs": [tensor], **others})
        return Call(f"{V2}/infer", head + content, {LENGTH: str(len(head))})

    def v1(**message: Any) -> Call:
        return Call(f"{V1}:predict", _json(message))

    calls = [
        v2("UINT8", [1, 28, 28], image.tolist()),
        v2("UINT8", [1, 784], image.ravel().tolist(), outputs=outputs),
        v2("FP32", [1, 28, 28, 1], fractions[..., None].tolist(), outputs=classes),
        v2("BYTES", [2], texts, outputs=outputs),
        v2_binary("UINT8", [3, 28, 28], np.stack([image] * 3).tobytes(), parameters={"binary_data_output": True}),
        v2_binary("FP32", [1, 1, 28, 28], fractions.tobytes(), outputs=classes),
        v2_binary("BYTES", [2], elements, outputs=outputs),
        Call(f"{V2}/infer", image.tobytes(), {LENGTH: "0"}),
        Call(f"{V2}/versions/1/infer", SEVEN, {LENGTH: "0"}),
        v1(instances=[fractions.tolist()]),
        v1(signature_name="reading", instances=[{"image": image.tolist()}, {"image": fractions.tolist()}]),
        v1(inputs=[image.tolist()]),
        v1(signature_name="images", instances=[{"b64": text} for text in texts]),
        v1(signature_name="images", inputs={"image_bytes": [{"b64": text} for text in texts]}),
    ]
    packed = [
        dataclasses.replace(
            call, body=gzip.compress(call.body, mtime=0), headers={**call.headers, "Content-Encoding": "gzip"}
        )
        for call in (calls[0], calls[4], calls[9])
    ]
    return calls + packed


def _json(message: Any) -> bytes:
    return json.dumps(message).encode()


# What is put in place of a value of the JSON, or beside it.
_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 255, 256, 0.5, -0.0, 1e308, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400),
    *(float("nan"), float("inf"), "", "x", "image", "\ud800", "\0", "é" * 1000, "UINT8", "FP32", "BYTES", "b64"),
    *([], {}, [[]], [{}], [None], [1, "x"], [[1], [1, 2]], {"b64": ""}, {"b64": "eA=="}, {"": None}),
    [0] * 784,
]
_KEYS = [
    *("id", "inputs", "outputs", "instances", "parameters", "name", "shape", "datatype", "data", "b64", "x"),
    *("binary_data_size", "binary_data", "binary_data_output", "classification", "shared_memory_region"),
    "signature_name",
]
_LENGTHS = ["", "-1", "0", "1", "x", "1.5", "0x10", "+7", "1_0", "9" * 30]
_CODINGS = ["gzip", "deflate", "identity", "br", "gzip, gzip", "x", ""]


class Mutations:
    """Good calls with one to four random changes each; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        """Start anew."""
        self._random = np.random.default_rng(seed)
        self._good = good_calls()

    def calls(self, count: int) -> Iterator[Call]:
        """So many of them."""
        for _ in range(count):
            call = self._pick(self._good)
            for _ in range(self._below(4) + 1):
                change: Callable[[Call], Call] = self._pick(
                    [self._json, self._json, self._json, self._bytes, self._length, self._header, self._path]
                )
                call = dataclasses.replace(change(call), made=f"{call.made} {change.__name__[1:]}")
            yield call

    def _below(self, limit: int) -> int:
        return int(self._random.integers(limit))

    def _pick(self, choices: list[Any]) -> Any:
        return choices[self._below(len(choices))]

    def _json(self, call: Call) -> Call:
        """Another value, key or element somewhere in the JSON; the header keeps telling its length."""
        size = len(call.body)
        if call.headers.get(LENGTH, "").isascii() and call.headers.get(LENGTH, "").isdigit():
            size = min(size, int(call.headers[LENGTH]))
        try:
            message = json.loads(call.body[:size])
        except (ValueError, RecursionError):
            return self._bytes(call)
        head = _json(self._changed(message))
        headers = {**call.headers, LENGTH: str(len(head))} if LENGTH in call.headers else call.headers
        return dataclasses.replace(call, body=head + call.body[size:], headers=headers)

    def _changed(self, message: Any) -> Any:
        places: list[tuple[Any, Any]] = []

        def collect(value: Any) -> None:
            items = (
                value.items() if isinstance(value, dict) else enumerate(value[:30]) if isinstance(value, list) else ()
            )
            for key, item in items:
                places.append((value, key))
                collect(item)

        collect(message)
        if not places or not self._below(20):
            return self._pick(_VALUES)
        holder, key = self._pick(places)
        match self._below(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case 1:
                holder[self._pick(_KEYS)] = self._pick(_VALUES)
            case _:
                holder[key] = self._pick(_VALUES)
        return message

    def _bytes(self, call: Call) -> Call:
        """Bytes changed, cut out, put in, or the end cut off."""
        body, place = bytearray(call.body), self._below(len(call.body) + 1)
        match self._below(4):
            case 0:
                body[place : place + 1] = self._random.bytes(1)
            case 1:
                del body[place : place + 1 + self._below(9)]
            case 2:
                body[place:place] = self._random.bytes(1 + self._below(9))
            case _:
                del body[place:]
        return dataclasses.replace(call, body=bytes(body))

    def _length(self, call: Call) -> Call:
        """Another length of the JSON."""
        near = str(len(call.body) + self._below(5) - 2)
        return self._with(call, LENGTH, self._pick([*_LENGTHS, near, str(self._below(len(call.body) + 1))]))

    def _header(self, call: Call) -> Call:
        """Another coding or type."""
        if self._below(2):
            return self._with(call, "Content-Encoding", self._pick(_CODINGS))
        return self._with(call, "Content-Type", self._pick(["text/plain", "image/png", "multipart/form-data", "x"]))

    def _with(self, call: Call, name: str, value: str) -> Call:
        return dataclasses.replace(call, headers={**call.headers, name: value})

    def _path(self, call: Call) -> Call:
        """Another version, model or verb, now and then."""
        path = self._pick(
            [
                *[call.path] * 6,
                call.path.replace("digits", "mnist"),
                call.path.replace("digits", "digits/versions/7"),
                call.path.replace("digits", "digits/versions/" + "9" * 5000),
                call.path.replace("digits", "digits/labels/stable"),
                call.path.replace("predict", "classify"),
                call.path + "%ED%A0%80",
            ]
        )
        return dataclasses.replace(call, path=path)
