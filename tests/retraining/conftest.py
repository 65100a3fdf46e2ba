"""Every test of what is kept in the database runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from app.database import Database


@pytest.fixture
def base(database_url: str) -> Iterator[Database]:
    """A database that is open."""
    opened = Database(database_url)
    yield opened
    opened.close()
