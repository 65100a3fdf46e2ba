"""The log: one JSON object a line, on standard error."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}

# Lines that are written at once. Eight of the longest for predictions have 2,130 bytes; of up to 4,096 no other
# process's come between, on a pipe.
AT_ONCE = 8

# What a record has that stands for several, which differ in what is passed as ``extra``.
_TOGETHER = "together"


class JsonLines(logging.Formatter):
    """Time, level, logger and message, and whatever was passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if together := vars(record).get(_TOGETHER):
            return "\n".join(_json(line | request) for request in together)
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


_ours = logging.StreamHandler()
_ours.setFormatter(JsonLines())


def configure() -> None:
    """Send every log through one handler, but the web server's own access log, which would say all twice."""
    # Our lines tell nothing of where in the code or in which thread they arose, so it need not be found out.
    logging._srcfile = None  # the way that logging's documentation gives
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _ours.setStream(sys.stderr)
    root = logging.getLogger()
    root.handlers = [_ours]
    root.setLevel(logging.WARNING)
    for name in ("digits", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)  # Pillow warns of odd metadata in pictures
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False


def answered(requests: Sequence[Mapping[str, Any]]) -> None:
    """A line for each request that was answered, with what is told of it.

    Where the log is ours alone several are written at once: one by one and through ``logging``, a line costs as much as
    reading a digit.
    """
    log = logging.getLogger("digits.access")
    if logging.getLogger().handlers != [_ours]:
        for request in requests:
            log.info("request", extra=request)
    elif log.isEnabledFor(logging.INFO):
        for start in range(0, len(requests), AT_ONCE):
            some = {_TOGETHER: requests[start : start + AT_ONCE]}
            _ours.handle(log.makeRecord(log.name, logging.INFO, "", 0, "request", (), None, extra=some))


def _json(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # half a surrogate pair from outside; the standard library escapes it
        return json.dumps(line, default=str)
