"""The database: connections, transactions, migrations, and errors while it does not answer."""

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Table

from app.errors import DatabaseUnavailable, StorageFull

_log = logging.getLogger("digits.database")

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0002"  # the newest migration; a test compares it with the files

# Key of the PostgreSQL advisory lock that writers take: any number that is the same in every process.
_WRITER_LOCK = 0x44494749

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

BUSY_SECONDS = 5  # longest wait for other writers of an SQLite file

# Longest wait for a PostgreSQL server that sends nothing at all. Statements that are merely slow are ended earlier, by
# the server itself (see _options).
RESPONSE_TIMEOUT_SECONDS = 12.0


class Database:
    """An SQLite or PostgreSQL database. It connects at the first call, and again after an outage.

    There is one writing transaction at a time, so what it has read does not change until it ends.
    """

    def __init__(self, url: str) -> None:
        """Prepare connections.

        Args:
            url: postgresql://… or sqlite:///path.

        Raises:
            DatabaseUnavailable: The URL is not valid, or the driver is missing.
        """
        parsed = _parse(url)
        self._is_sqlite = parsed.drivername == "sqlite"
        self._file = Path(parsed.database or "") if self._is_sqlite else None
        try:
            # orjson writes a loss of NaN as null. PostgreSQL does not accept NaN in JSON.
            self._engine = sa.create_engine(
                parsed, json_serializer=lambda value: orjson.dumps(value).decode(), **_options(parsed)
            )
        except ModuleNotFoundError as error:
            raise DatabaseUnavailable(
                f"DIGITS_DATABASE_URL needs {error.name}; run: pip install 'digits[postgres]'"
            ) from None
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:
            sa.event.listen(self._engine, "do_connect", _connect_with_timeout)
        self._is_migrated = False
        self._outage: str | None = None  # why the last attempt to connect failed, or None
        self._probe_lock = threading.Lock()  # held by the call that tries to connect during an outage
        self._logged_reason: str | None = None

    def migrate(self) -> None:
        """Migrate the schema if it is not up to date.

        Several threads and processes may call this at once: the database's lock for writers has them wait for one
        another. A lock in this process would add up their timeouts during an outage.

        Raises:
            DatabaseUnavailable: The database does not answer, or is of another release.
        """
        if self._is_migrated:
            return
        if self._file:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise self._unavailable(f"{self._file.parent}: {error.strerror}") from None
        with self._connection(writing=False) as connection:
            is_current = _revision(connection) == HEAD
        if not is_current:  # only then wait for other writers
            with self._connection(writing=True) as connection:
                try:
                    _upgrade(connection)
                except DatabaseUnavailable as error:
                    raise self._unavailable(str(error)) from None
        self._is_migrated = True

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        self.migrate()
        with self._connection(writing=False) as connection:
            yield connection
        self._logged_reason = None

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction that may write. There is one at a time among all processes.

        Raises:
            DatabaseUnavailable: The database does not answer. Nothing was written.
        """
        self.migrate()
        with self._connection(writing=True) as connection:
            yield connection
        self._logged_reason = None

    def now(self, connection: sa.Connection) -> float:
        """Return the database's time in seconds since 1970. For SQLite it is this machine's."""
        if self._is_sqlite:
            return time.time()
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _connection(self, *, writing: bool) -> Iterator[sa.Connection]:
        try:
            with self._connect().execution_options(digits_writing=writing) as connection, connection.begin():
                if writing and not self._is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
                yield connection
        except (sa.exc.DataError, sa.exc.IntegrityError):
            raise  # a bug of ours, not an outage, so another try would not help
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            if _is_full(error):
                raise self._unavailable(_reason(error), StorageFull) from error
            self._is_migrated = False  # after the outage it may be another database, or an older copy
            raise self._unavailable(_reason(error)) from error

    def _connect(self) -> sa.Connection:
        """Return a connection. During an outage, one call at a time tries to connect, and the others fail at once.

        Otherwise they would occupy all threads of the service, and calls that need no database would wait too.
        """
        is_probe = self._outage is not None
        if is_probe and not self._probe_lock.acquire(blocking=False):
            raise DatabaseUnavailable(self._outage)
        try:
            connection = self._engine.connect()
        except sa.exc.DBAPIError as error:
            self._outage = _reason(error)
            raise
        finally:
            if is_probe:
                self._probe_lock.release()
        self._outage = None
        return connection

    def _unavailable(self, reason: str, kind: type[DatabaseUnavailable] = DatabaseUnavailable) -> DatabaseUnavailable:
        """Return the error to raise, and log it unless the last one had the same reason."""
        if reason != self._logged_reason:
            self._logged_reason = reason
            _log.error("the database does not answer: %s", reason)
        return kind(reason)

    def insert(self, table: Table) -> Any:
        """Return an INSERT that supports ON CONFLICT, which SQLAlchemy has in its dialects only."""
        # Imported here: PostgreSQL's dialect takes a fiftieth of the time to start, and most services do not need it.
        if self._is_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)


def _parse(url: str) -> sa.URL:
    """Parse a URL. Raise DatabaseUnavailable if it is not valid, without the URL, which may have a password."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise DatabaseUnavailable(
            "DIGITS_DATABASE_URL is not a database URL; expected sqlite:///path, or "
            "postgresql://user:password@host:5432/name with URL encoding in the password (%40 for @)"
        ) from None
    if parsed.drivername not in {*DRIVERS, *DRIVERS.values()}:
        raise DatabaseUnavailable("DIGITS_DATABASE_URL names an unsupported database; use postgresql or sqlite")
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseUnavailable(
            "DIGITS_DATABASE_URL names no file, which the service and the worker need to share data"
        )
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def _is_full(error: Exception) -> bool:
    """Return whether the disk of the database is full, by SQLite's or PostgreSQL's error code."""
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF == sqlite3.SQLITE_FULL) or getattr(cause, "sqlstate", None) == "53100"


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _options(url: sa.URL) -> dict[str, Any]:
    if url.drivername.startswith("sqlite"):
        return {"connect_args": {"check_same_thread": False, "timeout": BUSY_SECONDS}}
    # Each step has a timeout, so that an outage does not delay requests. Those of psycopg are in seconds, the others in
    # milliseconds.
    limits = "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
    return {
        "connect_args": {"connect_timeout": 3, "tcp_user_timeout": 5000, "options": limits},
        "pool_pre_ping": True,
        "pool_timeout": 3,
    }


def _connect_with_timeout(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """Connect to PostgreSQL. The connection closes if the server sends nothing for RESPONSE_TIMEOUT_SECONDS.

    The server or the network enforce the timeouts in _options. Neither does if the server is frozen, for example by a
    disk that hangs: its kernel still acknowledges packets.
    """
    import psycopg

    class ConnectionWithTimeout(psycopg.Connection[Any]):
        def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
            return super().wait(self._limited(gen), *args, **kwargs)

        def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            """Run psycopg's protocol generator. While it waits, psycopg resumes it ten times a second."""
            deadline = time.monotonic() + RESPONSE_TIMEOUT_SECONDS
            try:
                state = next(gen)
                while True:
                    ready = yield state
                    if not ready and time.monotonic() > deadline:
                        self.close()
                        raise psycopg.OperationalError(f"no answer within {RESPONSE_TIMEOUT_SECONDS:g} seconds")
                    state = gen.send(ready)
            except StopIteration as done:  # some generators never wait
                return done.value

    return ConnectionWithTimeout.connect(*arguments, **options)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, not sqlite3
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    # The first connection sets the mode in the file. SQLite does not wait for other connections here but fails at once,
    # so the timeout is ours.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that first reads and then writes can fail halfway, so writers take the lock at the start.
    is_writing = connection.get_execution_options().get("digits_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _upgrade(connection: sa.Connection) -> None:
    if _revision(connection) == HEAD:
        return
    # Imported here: an installation needs it once, and it takes time and memory.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseUnavailable(f"the database was made by another release of Digits: {error}") from None


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision
