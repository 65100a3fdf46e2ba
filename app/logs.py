"""The log: one JSON object a line, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, and whatever was passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


def configure() -> None:
    """Send every log through one handler, but uvicorn's own access log, which would say everything twice."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    # The lines do not tell where in the code or in which thread they arose, so it need not be found out.
    logging._srcfile = None  # as the documentation of logging says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("digits", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)  # Pillow warns of odd metadata in pictures
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False


def _json(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # half a surrogate pair from outside; the standard library escapes it
        return json.dumps(line, default=str)
