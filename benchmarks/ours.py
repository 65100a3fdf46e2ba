"""The service as its users start it: ``python -m app`` with its defaults, and temporary folders."""

import http
import http.client
import os
import sys
from pathlib import Path

from benchmarks.processes import Server, free_port
from benchmarks.service import ROOT, TOKEN


def start(scratch: Path, *options: str) -> Server:
    """Start it with these options of its command line, and without a worker."""
    port = free_port()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    settings = {"DIGITS_STATE": str(scratch / "state"), "DIGITS_WORKER": "external", "DIGITS_ADMIN_TOKEN": TOKEN}
    command = [sys.executable, "-m", "app", "--port", str(port), *options]
    return Server(command, plain | settings, ROOT, port, scratch / "log")


def ready(server: Server) -> bool:
    """Whether it takes requests. Asked with little code, since it is asked all the time while the service starts."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
