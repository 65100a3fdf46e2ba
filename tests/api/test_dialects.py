"""What both client dialects have in common: the shape of errors, limits, traces, and what 300 mutations do."""

import asyncio
import http.client
import json
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.requests import Request

from app import errors
from app.api import problems
from benchmarks.mutations import Mutations
from tests.support.images import SEVEN, base64_of
from tests.support.servers import Start
from tests.support.waiting import wait_for

V1, V2 = "/v1/models/digits:predict", "/v2/models/digits/infer"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def check_error(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert [*reply.json()] == ["error"]
    assert reply.headers["x-request-id"]
    return str(reply.json()["error"])


@pytest.mark.parametrize("path", [V1, V2, "/v1/models", "/v2", "/predict"])
def test_every_kind_of_error_has_the_shape_of_its_path(path: str) -> None:
    scope = {"type": "http", "path": path, "method": "POST", "headers": [], "state": {"request_id": "1"}}
    failures = [
        errors.Overloaded(),
        errors.TooLate(),
        errors.Stopping(),
        errors.Unauthorized("no"),
        errors.Stalled("no"),
    ]
    replies = [
        *(asyncio.run(problems.on_digits_error(Request(scope), failure)) for failure in failures),
        problems.refuse(path, errors.MalformedRequest("half of a pair: \ud800"), "1"),
        problems.unexpected(path, "1"),
    ]
    assert [reply.status_code for reply in replies] == [503, 504, 503, 401, 408, 400, 500]
    assert replies[0].headers["retry-after"]
    for reply in replies:
        if path == "/predict":
            assert reply.headers["content-type"] == "application/problem+json"
        else:
            assert reply.headers["content-type"] == "application/json"
            assert [*json.loads(reply.body)] == ["error"]


@pytest.mark.parametrize("dialect", ["/v1", "/v2"])
def test_paths_and_methods_that_are_none(client: httpx.Client, dialect: str) -> None:
    unknown = client.get(f"{dialect}/nothing/at/all")
    check_error(unknown, 400 if dialect == "/v1" else 404)
    wrong = client.delete(f"{dialect}/models/digits")
    check_error(wrong, 405)
    assert wrong.headers["allow"] == "GET"
    for path in (f"{dialect}x", f"/x{dialect}/models"):
        assert client.get(path).headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", [V1, V2])
def test_bodies_that_are_too_large_or_of_another_coding(client: httpx.Client, path: str) -> None:
    check_error(client.post(path, content=bytes(6 * 2**20)), 413)
    check_error(client.post(path, content=b"{}", headers={"content-encoding": "br"}), 415)
    check_error(client.post(path, content=b"{}", headers={"content-range": "bytes 0-1/2"}), 415)
    pictures = 1001 * [base64_of(SEVEN)]
    many: Any = {"signature_name": "images", "instances": [{"b64": one} for one in pictures]}
    if path == V2:
        many = {"inputs": [{"name": "image", "shape": [1001], "datatype": "BYTES", "data": pictures}]}
    assert "more than 1,000 images" in check_error(client.post(path, json=many), 413)


@pytest.mark.parametrize("path", [V1, V2])
def test_what_the_middleware_refuses(client: httpx.Client, path: str) -> None:
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    connection.putrequest("POST", path, skip_host=True)
    for name, value in (("host", "a"), ("host", "b"), ("content-length", "0")):
        connection.putheader(name, value)
    connection.endheaders()
    reply = connection.getresponse()
    assert (reply.status, reply.headers["content-type"]) == (400, "application/json")
    assert "2 Host headers" in json.loads(reply.read())["error"]
    connection.close()


def test_a_trace_is_logged_in_all_dialects(start_server: Start) -> None:
    server = start_server(DIGITS_WORKER="external")
    paths = ["/predict", V1, V2, "/models"]
    with httpx.Client(base_url=server.url) as client:
        for path in paths:
            client.post(path, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        for wrong in ("", "00-x", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01"):
            client.get("/v2", headers={"traceparent": wrong})
        client.get("/v2/health/live", headers={"traceparent": f"01-{TRACE}-{PARENT}-01-more"})

    def requests() -> list[dict[str, Any]]:
        return [line for line in server.lines() if line["message"] == "request" and line["path"] != "/health/ready"]

    wait_for(lambda: len(requests()) == len(paths) + 6, "a line for each request")
    found = requests()
    for line in (*found[: len(paths)], found[-1]):
        assert (line["trace_id"], line["parent_id"]) == (TRACE, PARENT)
    for line in found[len(paths) : -1]:
        assert "trace_id" not in line


def test_every_call_is_documented(client: httpx.Client) -> None:
    model, label = ("/v1/models/{model}", "/v1/models/{model}/versions/{version}"), "/v1/models/{model}/labels/{label}"
    v1 = [f"{path}{end}" for path in (*model, label) for end in ("", "/metadata", ":predict", ":classify", ":regress")]
    v2 = [f"{path.replace('v1', 'v2')}{end}" for path in model for end in ("", "/ready", "/config", "/stats", "/infer")]
    others = ["/v1/models", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/repository/index"]
    others += [f"/v2/repository/models/{{model}}/{verb}" for verb in ("load", "unload")]
    documented = client.get("/openapi.json").json()["paths"]
    assert {path for path in documented if path.startswith(("/v1", "/v2"))} == {*v1, *v2, *others}
    for path in (*v1, *v2, *others):
        (operation,) = documented[path].values()
        assert operation["tags"] == [
            "TensorFlow Serving v1" if path.startswith("/v1") else "Open Inference Protocol v2"
        ]
        assert operation["summary"]
        assert operation["description"]


def test_the_worked_examples_work(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        if path.startswith(("/v1", "/v2")) and path.endswith(("/infer", ":predict")):
            (operation,) = methods.values()
            names = {one["name"]: one.get("example") for one in operation["parameters"] if one["in"] == "path"}
            url = path.format(**names)
            for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
                reply = client.post(url, json=example["value"])
                assert reply.status_code == 200, reply.text
                assert "7" in reply.text
                tried += 1
    assert tried == 15


def test_mutations_of_good_calls_are_answered_or_refused(client: httpx.Client) -> None:
    """As ``python -m benchmarks mutations``, which sends 10,000."""
    statuses = [0, 0]
    for call in Mutations(seed=27).calls(300):
        reply = client.post(call.path, content=call.body, headers=call.headers)
        assert reply.status_code < 500, (call, reply.text)
        statuses[reply.status_code == 200] += 1
        if reply.status_code != 200:
            assert reply.headers["content-type"] == "application/json"
            assert [*json.loads(reply.content)] == ["error"]
    assert np.min(statuses) > 10  # both happen
