"""Fixtures: servers, databases and data."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

# Names imported `as` themselves are for tests that import them from here still.
from tests.support.databases import POSTGRES
from tests.support.images import write_idx
from tests.support.paths import ROOT as ROOT
from tests.support.servers import AUTHORISED as AUTHORISED
from tests.support.servers import TOKEN as TOKEN
from tests.support.servers import Server as Server
from tests.support.servers import Start as Start
from tests.support.servers import environment as environment
from tests.support.servers import free_port as free_port
from tests.support.servers import servers_in
from tests.support.versions import SHIPPED as SHIPPED
from tests.support.versions import shipped
from training.data import Digits, load

# A client reads the authorities' certificates when it is made, which takes 16 ms and more. The tests make 5,000, and
# speak to nobody by TLS.
_no_certificates = tempfile.TemporaryDirectory(prefix="digits-no-certificates-")
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = _no_certificates.name


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length.

    A compressed file holds the second at which it was made, and the processes that share the tests must all collect
    the same names.
    """
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with the arguments and settings given, and ends them with the test."""
    with servers_in(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server with the shipped version and default settings, for tests that do it no harm."""
    folder = tmp_path_factory.mktemp("server")
    models = shipped(folder / "digits")
    with servers_in(folder) as start:
        server = start(DIGITS_MODELS=str(models), DIGITS_WORKER="external")
        with httpx.Client(base_url=server.url, timeout=60) as client:
            yield client


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: each test runs on SQLite and on PostgreSQL."""
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


@pytest.fixture(scope="session")
def mnist() -> Digits:
    """The real MNIST; without DIGITS_DATA the test is skipped."""
    folder = os.environ.get("DIGITS_DATA")
    if not folder:
        pytest.skip("needs MNIST: set DIGITS_DATA to a folder of its four files")
    return load(Path(folder))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in MNIST's format: 600 training and 100 test images, drawn by us."""
    return write_idx(tmp_path_factory.mktemp("data"), 600, 100)
