"""The service as a program: ``python -m app``."""

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from app import logs
from app.resources import cores, memory

# Bytes that a server process takes: 115 MB, and up to 240 MB more while it decodes a picture of 25 megapixels.
PROCESS_BYTES = 400 * 2**20

# Container platforms kill a service ten seconds after SIGTERM, as a rule. uvicorn takes another second or two.
STOP_SECONDS = 7

BACKLOG = 2048

_log = logging.getLogger("digits")


def main() -> None:
    """Serve until SIGTERM or SIGINT, and leave with status 0."""
    # Nothing is lost before uvicorn serves, nor when it sends itself the signal once more after the last reply. An
    # exception would end as a failed import.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options = _options()
    logs.configure()
    if error := _prepare(options):
        _log.critical(error)
        sys.exit(1)
    import uvicorn

    from app.settings import Settings

    settings = Settings.from_environment()
    server: dict[str, Any] = {
        "factory": True,
        "http": "app.protocol:HttpProtocol",
        "log_config": None,
        "server_header": False,
        "backlog": BACKLOG,
        "limit_concurrency": settings.max_connections,
        "timeout_keep_alive": settings.keep_alive,
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    listener = _listen(options.host, options.port)
    if options.workers == 1:
        listener.close()
        uvicorn.run("app.main:create_app", host=options.host, port=options.port, **server)
        return
    if not os.environ.get("DIGITS_THREADS"):
        os.environ["DIGITS_THREADS"] = str(max(1, cores() // options.workers))
    with tempfile.TemporaryDirectory(prefix="digits-metrics-") as metrics:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", metrics)
        stopping = _close_on_stop(listener)
        uvicorn.run("app.main:create_app", fd=listener.fileno(), workers=options.workers, **server)
    if not stopping.is_set():  # a server process could not start, and said why
        sys.exit(1)


def _prepare(options: argparse.Namespace) -> str | None:
    """Check all that the operator may have to mend before any server process starts. Returns what is wrong."""
    from pydantic import ValidationError

    from app.registry import store
    from app.settings import Settings, faults

    try:
        settings = Settings.from_environment()
        if options.seed and store.seed(options.seed, settings.models):
            _log.info("there was no version yet; the one that ships will serve")
        store.verify(settings.models / str(store.current(settings.models)))
    except ValidationError as error:
        return faults(error)
    except store.VersionError as error:
        return str(error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return f"{error.filename}: {reason}; let the service write the models' folder"
    return None


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address, or one line and status 1."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # given as a descriptor, uvicorn takes it for a file
    if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
        # A connection is to be accepted when its request has come, so by a process that is idle then. Otherwise one
        # process may take all connections of a burst.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _log.critical(f"{host}:{port}: {reason}; choose another --host or --port")
        sys.exit(1)
    return listener


def _close_on_stop(listener: socket.socket) -> threading.Event:
    """Refuse new connections as soon as a signal to stop comes.

    uvicorn's supervisor keeps the socket until its last process has left. Clients that connect meanwhile would wait,
    only to be reset.

    Returns:
        An event that is set when the signal has come.
    """
    stopping = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)  # uvicorn sets the handlers themselves

    def wait() -> None:
        with reader, writer:
            while reader.recv(1)[0] not in (signal.SIGTERM, signal.SIGINT):
                pass
            stopping.set()
            while True:  # a server process that is just starting listens once more
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                time.sleep(0.01)

    threading.Thread(target=wait, daemon=True).start()
    return stopping


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app", description="Reads handwritten digits, over HTTP.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=_port, default=8000, help="default: %(default)s")
    most = "one for each core for which there is memory, %(default)s"
    parser.add_argument("--workers", type=_count, default=_workers(), help=f"server processes; default: {most}")
    parser.add_argument(
        "--seed", type=Path, metavar="FOLDER", help="where DIGITS_MODELS has no version yet, begin with this folder's"
    )
    return parser.parse_args()


def _workers() -> int:
    """Server processes that fit here. In a container's memory fewer may than it has cores."""
    return max(1, int(min(cores(), memory() // PROCESS_BYTES)))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("expected a port, 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("expected 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
