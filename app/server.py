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

# Bytes that a server process takes: 115 MB, and up to 240 MB more while it decodes a picture of 25 megapixels.
PROCESS_BYTES = 400 * 2**20

# Container platforms kill a service ten seconds after SIGTERM, as a rule. uvicorn takes another second or two.
STOP_SECONDS = 7

BACKLOG = 2048

_log = logging.getLogger("digits")


def serve(host: str, port: int, workers: int, seed: Path | None) -> None:
    """Serve until SIGTERM or SIGINT, and leave with status 0. What keeps it from starting is one line and status 1.

    Args:
        host: Address to listen on.
        port: 0 for any that is free.
        workers: Server processes.
        seed: Folder of versions with which an empty DIGITS_MODELS begins.
    """
    # Nothing is lost before uvicorn serves, nor when it sends itself the signal once more after the last reply. An
    # exception would end as a failed import.
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
    if not stopping.is_set():  # a server process could not start, and said why
        sys.exit(1)


def default_workers() -> int:
    """Server processes that fit here. In a container's memory fewer may than it has cores."""
    return max(1, int(min(cores(), memory() // PROCESS_BYTES)))


def _prepare(seed: Path | None) -> str | None:
    """Check all that the operator may have to mend before any server process starts. Returns what is wrong."""
    from pydantic import ValidationError

    from app.errors import StartError
    from app.inference import keras_file
    from app.registry import store
    from app.settings import Settings, faults

    try:
        settings = Settings.from_environment()
        if settings.model:
            keras_file.convert(settings)
        elif (seed := seed or _default_seed()) and store.seed(seed, settings.models):
            _log.info("there was no version yet; the one that ships will serve")
        store.verify(settings.models / str(store.current(settings.models)))
    except ValidationError as error:
        return faults(error)
    except (StartError, store.VersionError) as error:
        return str(error)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return f"{error.filename}: {reason}; let the service write the models' folder"
    return None


def _default_seed() -> Path | None:
    """The version that ships, where no folder is asked for: a wrong DIGITS_MODELS should be noticed."""
    from app.registry import store

    return None if os.environ.get("DIGITS_MODELS", "").strip() else store.shipped_folder()


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
