"""Runs the service with uvicorn, in one process or several."""

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

# Memory of a server process: 115 MB, and up to 240 MB more while it decodes a picture of 25 megapixels.
PROCESS_BYTES = 400 * 2**20

# Container platforms usually kill a service ten seconds after SIGTERM. uvicorn needs another second or two.
STOP_SECONDS = 7

BACKLOG = 2048

_log = logging.getLogger("digits")


def serve(host: str, port: int, workers: int, seed: Path | None) -> None:
    """Serve until SIGTERM or SIGINT, then exit with status 0. If it cannot start, log one line and exit with status 1.

    Args:
        host: Address to listen on.
        port: 0 for any free port.
        workers: Number of server processes.
        seed: Folder whose version is copied if DIGITS_MODELS has none yet.
    """
    # uvicorn replaces this handler while it serves. Before and after that there is nothing to finish, and an exception
    # from the handler would look like a failed import.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    logs.configure()
    if error := _prepare(seed):
        _log.critical(error)
        sys.exit(1)
    import uvicorn

    from app.settings import Settings

    settings = Settings.from_environment()
    options: dict[str, Any] = {
        "factory": True,
        "http": "app.protocol:HttpProtocol",
        "log_config": None,
        "server_header": False,
        "backlog": BACKLOG,
        "limit_concurrency": settings.max_connections,
        "timeout_keep_alive": settings.keep_alive,
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    listener = _listen(host, port)
    if workers == 1:
        listener.close()
        uvicorn.run("app.main:create_app", host=host, port=port, **options)
        return
    if not os.environ.get("DIGITS_THREADS"):
        os.environ["DIGITS_THREADS"] = str(max(1, cores() // workers))
    with tempfile.TemporaryDirectory(prefix="digits-metrics-") as metrics:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", metrics)
        stopping = _close_on_stop(listener)
        uvicorn.run("app.main:create_app", fd=listener.fileno(), workers=workers, **options)
    if not stopping.is_set():  # a server process could not start, and has logged the reason
        sys.exit(1)


def default_workers() -> int:
    """Return the number of server processes: one for each core, as far as the container's memory allows."""
    return max(1, int(min(cores(), memory() // PROCESS_BYTES)))


def _prepare(seed: Path | None) -> str | None:
    """Check the settings and the version before any server process starts.

    Returns:
        What the operator has to correct, or None.
    """
    from pydantic import ValidationError

    from app.errors import StartError
    from app.inference import keras_file
    from app.registry import store
    from app.settings import Settings, validation_message

    try:
        settings = Settings.from_environment()
        if settings.model:
            keras_file.convert(settings)
        elif (seed := seed or _default_seed()) and store.seed(seed, settings.models):
            _log.info(f"{settings.models} had no version; copied the one in {seed}")
        store.verify(settings.models / str(store.current(settings.models)))
    except ValidationError as error:
        return validation_message(error)
    except (StartError, store.VersionError) as error:
        return str(error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return f"{error.filename}: {reason}; make the models' folder writable for the service"
    return None


def _default_seed() -> Path | None:
    """Return the folder of the version that ships. None if DIGITS_MODELS is set, so that a wrong path is noticed."""
    from app.registry import store

    return None if os.environ.get("DIGITS_MODELS", "").strip() else store.shipped_folder()


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. If that fails, log one line and exit with status 1."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # asyncio does not: uvicorn wraps an inherited socket as a Unix one
    if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
        # Accept a connection when its request has arrived, so that an idle process takes it. Otherwise one process may
        # accept all connections of a burst.
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
    """Refuse new connections as soon as SIGTERM or SIGINT arrives.

    uvicorn's supervisor keeps the socket open until its last process has ended. Clients that connect meanwhile would
    wait and then be reset.

    Returns:
        An event that the signal sets.
    """
    stopping = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)  # uvicorn sets the handlers

    def wait() -> None:
        with reader, writer:
            while reader.recv(1)[0] not in (signal.SIGTERM, signal.SIGINT):
                pass
            stopping.set()
            while True:  # a server process that is just starting calls listen again
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                time.sleep(0.01)

    threading.Thread(target=wait, daemon=True).start()
    return stopping
