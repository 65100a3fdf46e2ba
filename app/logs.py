"""The log: one JSON object a line, on standard error."""

import json
import logging
from datetime import UTC, datetime

import orjson

_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """Time, level, logger and message, and whatever was passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half a surrogate pair from outside; the standard library escapes it
            return json.dumps(line, default=str)


def configure() -> None:
    """Send every log through one handler, but the web server's own access log, which would say all twice."""
    # Our lines tell nothing of where in the code or in which thread they arose, so it need not be found out.
    logging._srcfile = None  # the way that logging's documentation gives
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
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
