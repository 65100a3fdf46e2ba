"""Calls over HTTP, and what must come back."""

import re
import socket
import time
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.waiting import TIMEOUT_SECONDS

JSON = {"content-type": "application/json"}
RAW = {"content-type": "application/octet-stream"}


def check(reply: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """Check that a reply is a problem (RFC 9457) with this status, and with these words in its detail.

    Returns:
        The problem.
    """
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert list(problem) == ["type", "title", "status", "detail", "request_id"]
    assert problem["status"] == status
    assert problem["type"].startswith("urn:digits:problem:")
    assert problem["request_id"] == reply.headers["x-request-id"]
    for word in words:
        assert word in problem["detail"], problem["detail"]
    return problem


def check_reading(reading: dict[str, Any]) -> None:
    """Check that the digit and the confidence of a prediction are those of its ten probabilities."""
    probabilities = reading["probabilities"]
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert reading["digit"] == int(np.argmax(probabilities))
    assert reading["confidence"] == max(probabilities)


def raw_reply(client: httpx.Client, request: bytes) -> httpx.Response:
    """Send bytes over a connection of their own; the one reply, after which the service closes it."""
    address = client.base_url.host, client.base_url.port or 80
    with socket.create_connection(address, timeout=30) as line:
        line.sendall(request)
        told, end = b"", time.monotonic() + TIMEOUT_SECONDS
        while piece := line.recv(65536):
            told += piece
            assert time.monotonic() < end, told
    head, _, body = told.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [tuple(header.split(b": ", 1)) for header in lines]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)  # type: ignore[arg-type]


def metric(text: str, name: str) -> float:
    """The value of a series in Prometheus's text format, 0 where there is none."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
