"""The service as a program: ``python -m app``. Told to end, it answers all that was sent and leaves with status 0.

What serves is imported only where it serves: the process that starts the others should not make them wait.
"""

import argparse
import errno
import gc
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from app import logs
from app.allowance import cores, memory
from app.dealing import Seat, Table
from app.processes import Processes
from training.tether import tie

# No processes, memory or files are left: nothing that another address would mend.
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)

# Bytes that a server process may come to take, with large pictures and a second version that is about to serve.
_PROCESS = 200 * 2**20


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    # The first process of a container does not even hear signals that it does not handle.
    # Nothing is served yet that could be lost, and an exception raised in the import of the runtime ends as an error
    # of that import, with status 1.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options = _options()
    if options.parent is not None:
        tie(options.parent)
    logs.configure()
    # numpy would spread a product over threads that wait in a loop for each other, on cores that others want: with 256
    # pictures looked at together, not 128, less than half as many a second were answered.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if options.seed:
        _seed(options.seed)
    if options.workers == 1 or options.listener is not None:
        gc.disable()  # until what answers predictions is imported, see app/server.py
        from app.main import begin

        app = begin()
        from app.server import serve  # while the version is being loaded

        seat = Seat(Table.parse(options.table), options.place) if options.table else None
        serve(app, options.host, options.port, options.listener, seat)
    else:
        sys.exit(_serve_from_many(options))


def _serve_from_many(options: argparse.Namespace) -> int:
    """In processes that share the cores, and the counts that /metrics tells."""
    os.environ.setdefault("DIGITS_THREADS", str(max(1, cores() // options.workers)))
    with tempfile.TemporaryDirectory(prefix="digits-metrics-") as metrics:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        processes = Processes(options.host, options.port, options.workers, _serve_at, _forget)
        try:
            return processes.run()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            advice = "" if error.errno in _SCARCE else "; choose another --host or --port"
            logging.getLogger("digits").critical(f"{options.host}:{options.port}: {reason}{advice}")
            return 1


def _serve_at(place: int, table: Table, listener: int) -> list[str]:
    """The command of one of them."""
    command = [sys.executable, "-m", "app", "--parent", str(os.getpid()), "--listener", str(listener)]
    return [*command, "--table", str(table), "--place", str(place)]


def _forget(pid: int) -> None:
    """What a process that is no more told of its state is no longer so; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app", description="Reads handwritten digits, over HTTP.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=_port, default=8000, help="default: %(default)s")
    most = "one for each core for which there is memory, %(default)s"
    parser.add_argument("--workers", type=_count, default=_workers(), help=f"server processes; default: {most}")
    # Of one of several processes: the one that started it, the descriptor to serve on, what they share and its place
    # there.
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--seed", type=Path, metavar="FOLDER", help="where DIGITS_MODELS has no version yet, begin with this folder's"
    )
    return parser.parse_args()


def _workers() -> int:
    """Server processes that fit here. In a container's memory fewer may than it has cores."""
    return max(1, int(min(cores(), memory() // _PROCESS)))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("expected a port, 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("expected 1 or more")
    return int(text)


def _seed(shipped: Path) -> None:
    """Fill an empty folder of versions, or end with one line and status 1."""
    from pydantic import ValidationError

    from app.settings import Settings
    from training import versions

    log = logging.getLogger("digits")
    try:
        if versions.seed(shipped, Settings.from_environment().models):
            log.info("there was no version yet; the one that ships will serve")
    except ValidationError:
        return  # told when the service is made
    except versions.VersionError as error:
        log.critical(str(error))
        sys.exit(1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        log.critical(f"{error.filename}: {reason}; let the service write the models' folder")
        sys.exit(1)


if __name__ == "__main__":
    main()
