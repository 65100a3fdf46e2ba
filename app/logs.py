"""The log: one JSON object a line, on standard error."""

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
        return orjson.dumps(line, default=str).decode()


def configure() -> None:
    """Send our log and the web server's through one handler; the server's own access log would say all twice."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("digits", "uvicorn", "uvicorn.error", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").handlers = []
    logging.getLogger("uvicorn.error").propagate = True
    # Pillow warns of odd metadata in pictures; that belongs into the log, not between its lines.
    logging.captureWarnings(capture=True)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
