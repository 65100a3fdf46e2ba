"""The database itself: what it takes, and what becomes of calls while it is away."""

import contextlib
import logging
import math
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app import database
from app.database import Database
from app.errors import DatabaseUnavailable, StorageFull
from app.retraining.jobs import Jobs, Request
from tests.support.databases import POSTGRES
from tests.support.waiting import wait_for

CONNECT_SECONDS = 3  # for which an attempt to connect waits


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def test_a_new_file_that_another_process_is_about_to_write_is_waited_for(tmp_path: Path) -> None:
    """SQLite lets nobody wait for that who changes the kind of its journal, as the first of them do."""
    file = tmp_path / "digits.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, other.rollback)
        timer.start()
        base = Database(f"sqlite:///{file}")
        base.migrate()
        base.close()
        timer.join()


def test_a_server_that_never_answers_holds_up_none_for_the_others(silent: int) -> None:
    base = Database(f"postgresql://digits@127.0.0.1:{silent}/digits")
    jobs = Jobs(base, 60)

    def seconds(_: int) -> float:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            jobs.newest(1, None)
        return time.monotonic() - started

    with ThreadPoolExecutor(8) as threads:
        assert max(threads.map(seconds, range(8))) < 4 * CONNECT_SECONDS  # together, not one after the other
        later = sorted(threads.map(seconds, range(8)))
    assert later[-2] < CONNECT_SECONDS  # one waits to see whether it is back
    base.close()


def test_the_log_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in-the-way").write_text("")
    base = Database(f"sqlite:///{tmp_path}/in-the-way/digits.db")
    with caplog.at_level(logging.ERROR, "digits.database"):
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                base.migrate()
    assert len(caplog.records) == 1
    base.close()


def test_a_full_disk_is_told_once(base: Database, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("how full PostgreSQL's disk is, is its own matter")
    jobs = Jobs(base, 60)
    jobs.newest(1, None)
    with base.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with caplog.at_level(logging.ERROR, "digits.database"):
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match="full"):
                jobs.submit(Request("scratch"), {"long": "x" * 10_000}, None, 10)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "mysql://a/b",
        "postgresql://user:secret@host:port/name",
        "postgresql+asyncpg://user:secret@host/name",
        "sqlite+aiosqlite:///digits.db",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_urls_that_cannot_be_used_are_told_without_their_password(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="DIGITS_DATABASE_URL") as told:
        Database(url)
    assert "secret" not in str(told.value)


def test_a_number_that_is_none_is_kept_as_null(base: Database) -> None:
    """A loss may end there; PostgreSQL takes no NaN in JSON."""
    jobs = Jobs(base, 60)
    number = jobs.submit(Request("scratch"), {}, None, 10).id
    lease = jobs.claim()
    assert lease is not None
    jobs.heartbeat(lease, progress={"loss": math.nan, "accuracy": math.inf})
    assert jobs.get(number).progress == {"loss": None, "accuracy": None}


def test_what_it_does_not_take_is_no_outage(base: Database, database_url: str) -> None:
    """A worker would try the same for ever."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite takes it")
    with pytest.raises(sa.exc.DataError):
        Jobs(base, 60).submit(Request("scratch"), {}, "a\0b", 10)
    assert Jobs(base, 60).newest(1, None) == []


def test_an_empty_database_that_comes_in_place_of_the_one_before(base: Database) -> None:
    jobs = Jobs(base, 60)
    jobs.submit(Request("scratch"), {}, None, 10)
    with base.writing() as connection:
        for name in ("labels", "feedback", "workers", "events", "jobs", "alembic_version"):
            connection.execute(sa.text(f"DROP TABLE {name}"))
    with pytest.raises(DatabaseUnavailable):
        jobs.newest(1, None)
    assert jobs.newest(1, None) == []


def test_reading_waits_for_no_writer_after_a_write_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    file = tmp_path / "digits.db"
    jobs = Jobs(Database(f"sqlite:///{file}"), 60)
    jobs.submit(Request("scratch"), {}, None, 10)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            jobs.submit(Request("scratch"), {}, None, 10)
        assert len(jobs.newest(10, None)) == 1


class Relay:
    """Stands between a client and PostgreSQL, and can stop passing anything on, as a server that is frozen."""

    def __init__(self, to: sa.URL) -> None:
        host = to.query.get("host") or to.host or "127.0.0.1"
        self._family = socket.AF_UNIX if str(host).startswith("/") else socket.AF_INET
        port = to.port or 5432
        self._to = f"{host}/.s.PGSQL.{port}" if self._family == socket.AF_UNIX else (host, port)
        self._flows = threading.Event()
        self._flows.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def freeze(self) -> None:
        """Pass nothing on until `thaw`."""
        self._flows.clear()

    def thaw(self) -> None:
        """Go on where it stopped."""
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.socket(self._family)
            far.connect(self._to)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with source, contextlib.suppress(OSError):
            while content := source.recv(65536):
                self._flows.wait()
                target.sendall(content)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def test_a_server_that_freezes_is_given_up_and_found_again(
    base: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not POSTGRES or database_url.startswith("sqlite"):
        pytest.skip("SQLite is in this process")
    monkeypatch.setattr(database, "RESPONSE_TIMEOUT_SECONDS", 1.0)
    relay = Relay(sa.make_url(POSTGRES))
    url = sa.make_url(database_url).set(host="127.0.0.1", port=relay.port, query={})
    through = Database(url.render_as_string(hide_password=False))
    jobs = Jobs(through, 60)
    jobs.submit(Request("scratch"), {}, None, 10)
    relay.freeze()
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        jobs.newest(1, None)
    assert time.monotonic() - started < 8
    relay.thaw()

    def is_back() -> bool:
        with contextlib.suppress(DatabaseUnavailable):
            return len(jobs.newest(1, None)) == 1
        return False

    wait_for(is_back, "the server")
    through.close()
    relay.close()


def test_a_full_disk_is_told_and_what_is_there_can_be_read(tmp_path: Path) -> None:
    """A limit of pages, which SQLite tells with the code of a full disk."""
    base = Database(f"sqlite:///{tmp_path / 'digits.db'}")
    jobs = Jobs(base, 10)
    first = jobs.submit(Request("scratch"), {}, None, 1000)

    def limit(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA max_page_count=1")  # as few as it has

    base.close()
    base = Database(f"sqlite:///{tmp_path / 'digits.db'}")
    sa.event.listen(base._engine, "connect", limit)
    jobs = Jobs(base, 10)

    def fill() -> None:
        for _ in range(200):
            jobs.submit(Request("scratch"), {"filler": "x" * 1000}, None, 1000)

    with pytest.raises(StorageFull, match="full"):
        fill()
    assert jobs.get(first.id) == first
    base.close()
