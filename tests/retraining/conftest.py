"""Every test of what is kept in the database runs on SQLite and on PostgreSQL."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.database import Database

POSTGRES = os.environ.get("DIGITS_TEST_POSTGRES")  # URL of a server where databases can be made


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state' / 'digits.db'}"
        return
    if not POSTGRES:
        pytest.skip("needs PostgreSQL: set DIGITS_TEST_POSTGRES to the URL of a server where databases can be made")
    server = sa.make_url(POSTGRES).set(drivername="postgresql+psycopg")
    name = f"digits_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def base(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()
