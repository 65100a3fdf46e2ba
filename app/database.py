"""The database: its connections, and what becomes of a call when it does not answer."""

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

# Any number will do, as long as it is the same in every process: on PostgreSQL it stands for "the writer".
_WRITER_LOCK = 0x44494749

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

BUSY_SECONDS = 5  # how long to wait for other writers of an SQLite file

# Seconds after which a server that says nothing at all counts as away. A statement that is only slow is ended by the
# server itself before (see _options).
SILENCE_SECONDS = 12.0


class Database:
    """One database, SQLite or PostgreSQL. Connects when it is first needed, and again after it was away.

    Writers exclude one another on both kinds, so what a writing transaction has read stays true until it ends.
    """

    def __init__(self, url: str) -> None:
        """url: postgresql://… or sqlite:///path. Raises DatabaseUnavailable when it is of no kind that is known."""
        parsed = _parse(url)
        self._is_sqlite = parsed.drivername == "sqlite"
        self._file = Path(parsed.database or "") if self._is_sqlite else None
        try:
            # orjson, because a loss that is no number any more must become null: PostgreSQL takes no NaN in JSON.
            self._engine = sa.create_engine(
                parsed, json_serializer=lambda value: orjson.dumps(value).decode(), **_options(parsed)
            )
        except ModuleNotFoundError as error:
            raise DatabaseUnavailable(
                f"DIGITS_DATABASE_URL needs {error.name}; pip install 'digits[postgres]' brings the driver"
            ) from None
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:
            sa.event.listen(self._engine, "do_connect", _connect_impatiently)
        self._migrated = False
        self._away: str | None = None  # why no connection could be had the last time; None when there was one
        self._finding_out = threading.Lock()
        self._told: str | None = None

    def migrate(self) -> None:
        """Bring the schema up to date; nothing where it is. Raises DatabaseUnavailable.

        Of several that come at once, in whatever process, the database lets one after the other do so. No lock of
        ours is held for that: whoever waited for it would wait for the whole row of those that get no answer.
        """
        if self._migrated:
            return
        if self._file:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise self._unavailable(f"{self._file.parent}: {error.strerror}") from None
        with self._connection(writing=False) as connection:
            up_to_date = _revision(connection) == HEAD
        if not up_to_date:  # only then is it worth to wait for those that write
            with self._connection(writing=True) as connection:
                try:
                    _upgrade(connection)
                except DatabaseUnavailable as error:
                    raise self._unavailable(str(error)) from None
        self._migrated = True

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads. Raises DatabaseUnavailable."""
        self.migrate()
        with self._connection(writing=False) as connection:
            yield connection
        self._told = None

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that may write, alone among all processes. Raises DatabaseUnavailable; then nothing is kept."""
        self.migrate()
        with self._connection(writing=True) as connection:
            yield connection
        self._told = None

    def now(self, connection: sa.Connection) -> float:
        """The database's clock. SQLite has none of its own, and all its processes are on one machine."""
        if self._is_sqlite:
            return time.time()
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connection(self, *, writing: bool) -> Iterator[sa.Connection]:
        try:
            with self._connect().execution_options(digits_writing=writing) as connection, connection.begin():
                if writing and not self._is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
                yield connection
        except (sa.exc.DataError, sa.exc.IntegrityError):
            raise  # it did answer: a mistake of ours, which trying again would repeat for ever
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            if _is_full(error):
                raise self._unavailable(_reason(error), StorageFull) from error
            self._migrated = False  # what comes back may be another one, or an older copy
            raise self._unavailable(_reason(error)) from error

    def _connect(self) -> sa.Connection:
        """A connection. While the database is away, one call at a time waits to see whether it is back.

        The others are told at once. Else they would take all threads that the service has for such calls, and what
        needs no database would wait too.
        """
        alone = self._away is not None
        if alone and not self._finding_out.acquire(blocking=False):
            raise DatabaseUnavailable(self._away)
        try:
            connection = self._engine.connect()
        except sa.exc.DBAPIError as error:
            self._away = _reason(error)
            raise
        finally:
            if alone:
                self._finding_out.release()
        self._away = None
        return connection

    def _unavailable(self, reason: str, kind: type[DatabaseUnavailable] = DatabaseUnavailable) -> DatabaseUnavailable:
        """The error to raise; the log is told once, not by each of the calls that fail for the same reason."""
        if reason != self._told:
            self._told = reason
            _log.error("the database does not answer: %s", reason)
        return kind(reason)

    def insert(self, table: Table) -> Any:
        """An INSERT that can say what to do ON CONFLICT, which SQLAlchemy has a dialect at a time."""
        # Here, as PostgreSQL's takes a fiftieth of the start, and most services do without it.
        if self._is_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)


def _parse(url: str) -> sa.URL:
    """Raises DatabaseUnavailable, in words that repeat nothing of the URL: it may hold a password."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise DatabaseUnavailable(
            "DIGITS_DATABASE_URL is no URL of a database; expected postgresql://user:password@host:5432/name, where "
            "signs in the password are written as in a URL (%40 for @), or sqlite:///path"
        ) from None
    known = {*DRIVERS, *DRIVERS.values()}
    if parsed.drivername not in known:
        raise DatabaseUnavailable("DIGITS_DATABASE_URL is of a kind that is not known here; use postgresql or sqlite")
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseUnavailable("DIGITS_DATABASE_URL names no file; the worker, a process of its own, needs one")
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def _is_full(error: Exception) -> bool:
    """Whether the disk of the database has no room left, by SQLite's code or PostgreSQL's."""
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF == sqlite3.SQLITE_FULL) or getattr(cause, "sqlstate", None) == "53100"


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _options(url: sa.URL) -> dict[str, Any]:
    if url.drivername.startswith("sqlite"):
        return {"connect_args": {"check_same_thread": False, "timeout": BUSY_SECONDS}}
    # A database that is away must not hold requests up: each step has a limit, in seconds or milliseconds.
    limits = "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
    return {
        "connect_args": {"connect_timeout": 3, "tcp_user_timeout": 5000, "options": limits},
        "pool_pre_ping": True,
        "pool_timeout": 3,
    }


def _connect_impatiently(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """A connection to PostgreSQL that breaks off when the server says nothing for SILENCE_SECONDS.

    The limits in _options are the server's own, or the network's. A server that is frozen, as by a disk that hangs,
    heeds the first, and its kernel goes on acknowledging packets for the second.
    """
    import psycopg

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Any, *more: Any, **options: Any) -> Any:
            return super().wait(self._limited(gen), *more, **options)

        def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            """The same steps of the protocol; between them psycopg looks in ten times a second, also in vain."""
            deadline = time.monotonic() + SILENCE_SECONDS
            try:
                wanted = next(gen)
                while True:
                    ready = yield wanted
                    if not ready and time.monotonic() > deadline:
                        self.close()
                        raise psycopg.OperationalError(f"no answer within {SILENCE_SECONDS:g} seconds")
                    wanted = gen.send(ready)
            except StopIteration as done:  # some steps need no look at all
                return done.value

    return Impatient.connect(*arguments, **options)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where sqlite3 guesses
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    # Kept in the file by whoever opens it first. SQLite refuses this at once while another is about to write or to do
    # the same: of two who had begun to, neither could wait for the other.
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
    # A transaction that begins reading and then writes can fail half-way; a writer asks for its turn at once.
    writing = connection.get_execution_options().get("digits_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _upgrade(connection: sa.Connection) -> None:
    if _revision(connection) == HEAD:
        return
    # Imported here: it is needed once in the life of an installation, and takes memory and time.
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
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found
