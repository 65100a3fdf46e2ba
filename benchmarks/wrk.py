"""Load by wrk, the HTTP benchmark from Debian's package of that name: the same request over and over."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

# The request is set once, so that no Lua runs for each. The results are printed at the end, as JSON.
_SCRIPT = """
wrk.method = "{method}"
wrk.headers["Content-Type"] = "{content_type}"
wrk.body = "{body}"

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\\n{{"replies": %d, "refused": %d, "broken": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f}}\\n',
        summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
        summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
# The slowest peer takes many at 128 connections.
_REPLY_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Request:
    """What is sent again and again; a GET where there is no body."""

    path: str
    body: bytes = b""
    content_type: str = ""


@dataclass(frozen=True)
class Report:
    """What a load gave.

    Attributes:
        rate: Replies of status 2xx or 3xx a second.
        p50: Of all replies, in milliseconds.
        p99: Of all replies, in milliseconds.
        replies: All of them.
        refused: Replies of status 4xx and 5xx.
        broken: Connections that failed, and replies that did not come in time.
    """

    rate: float
    p50: float
    p99: float
    replies: int
    refused: int
    broken: int


def load(url: str, request: Request, connections: int, seconds: float) -> Report:
    """Send one request after the other over each connection. url: of the server. Raises RuntimeError without wrk."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script(request))
        file.flush()
        # One thread keeps up with every server here and leaves the other core to it.
        shape = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
        done = subprocess.run(  # noqa: S603  # our own command
            [program, *shape, "--timeout", f"{_REPLY_TIMEOUT_SECONDS}s", "--script", file.name, url + request.path],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return parse(done.stdout)


def script(request: Request) -> str:
    """The Lua that makes wrk send this request."""
    # Every byte by three digits: after a shorter escape, a digit of the body would be read as part of it.
    body = "".join(f"\\{byte:03}" for byte in request.body)
    method = "POST" if request.body else "GET"
    return _SCRIPT.format(method=method, content_type=request.content_type, body=body)


def parse(output: str) -> Report:
    """Read its output, of which the last line is our script's."""
    told = json.loads(output.strip().splitlines()[-1])
    good = told["replies"] - told["refused"]
    return Report(
        rate=good / told["seconds"],
        p50=told["p50"],
        p99=told["p99"],
        replies=told["replies"],
        refused=told["refused"],
        broken=told["broken"],
    )


def form(*files: bytes) -> tuple[bytes, str]:
    """The pictures as form fields ``file``, and the content type that goes with them."""
    boundary = "digits-benchmark-boundary"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="digit.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
    body = b"".join(head + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
