"""Who may change something, and where the token comes from."""

import socket
import stat
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from app.api.auth import load_admin_digest
from app.settings import Settings
from tests.support.calls import check
from tests.support.images import SEVEN
from tests.support.servers import AUTHORISED, TOKEN, Server, Start, refused_start
from tests.support.waiting import wait_for


def told(server: Server, path: Path) -> int:
    """How many lines of a log say that the token is in this file."""
    return sum(line["message"] == f"the admin token is in {path}" for line in server.lines())


def status(server: Server, token: str) -> int:
    headers = {"authorization": f"Bearer {token}".strip()}
    return httpx.post(f"{server.url}/models/999/activate", headers=headers).status_code


WRONG = [
    {},
    {"authorization": "Bearer wrong-token-altogether"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": TOKEN},
    {"authorization": "Bearer"},
    {"authorization": "Bearer \xff\xfe".encode("latin-1")},
    {"cookie": f"authorization=Bearer {TOKEN}"},
]


@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize("path", ["/models/1/activate", "/models/999/activate", "/models/first/activate"])
def test_without_the_token_nothing_is_told(client: httpx.Client, path: str, headers: dict[str, str | bytes]) -> None:
    reply = client.post(path, headers=headers)
    problem = check(reply, 401, "Authorization: Bearer")
    assert problem["type"] == "urn:digits:problem:unauthorized"
    assert reply.headers["www-authenticate"] == "Bearer"
    plain = client.post("/models/1/activate").json()
    assert {**problem, "request_id": ""} == {**plain, "request_id": ""}


def test_with_the_token(client: httpx.Client) -> None:
    check(client.post("/models/999/activate", headers=AUTHORISED), 404, "999")
    check(client.post("/models/first/activate", headers=AUTHORISED), 422, "version")
    headers = {"authorization": f"bearer {TOKEN}"}  # the scheme's name may be written in either case
    check(client.post("/models/999/activate", headers=headers), 404, "999")


def test_the_body_of_a_refused_call_is_not_waited_for(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as line:
        line.sendall(b"POST /models/1/activate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
        answer = b"".join(iter(lambda: line.recv(65536), b""))  # it hangs up, too
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_predictions_need_no_token(client: httpx.Client) -> None:
    assert client.get("/models").status_code == 200


def test_the_documentation_page_can_authorise(client: httpx.Client) -> None:
    api = client.get("/openapi.json").json()
    assert api["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert api["paths"]["/models/{version}/activate"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in api["paths"]["/predict"]["post"]


def test_a_token_is_made_once_and_kept(start_server: Start, tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    first = start_server(DIGITS_ADMIN_TOKEN=None, DIGITS_STATE=str(state))
    token = (state / "token").read_text().strip()
    assert len(token) >= 20
    assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert status(first, token) == 404
    assert status(first, TOKEN) == 401
    first.stop()

    second = start_server(DIGITS_ADMIN_TOKEN=None, DIGITS_STATE=str(state))
    assert (state / "token").read_text().strip() == token
    assert status(second, token) == 404
    for server in (first, second):
        assert told(server, state / "token") == 1
        assert token not in server.log.read_text()  # logs are collected and kept


def test_a_new_token_is_shown_on_a_terminal_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nowhere else."""
    for folder, is_terminal in (("one", True), ("two", False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        for start in (1, 2):
            load_admin_digest(Settings(state=tmp_path / folder))
            shown = capsys.readouterr()
            token = (tmp_path / folder / "token").read_text().strip()
            assert (token in shown.err) == (is_terminal and start == 1)
            assert token not in shown.out


@pytest.mark.parametrize("token", ["", " "])
def test_an_empty_token_counts_as_none(start_server: Start, tmp_path: Path, token: str) -> None:
    """A compose file sets a variable that is empty where nobody set it."""
    server = start_server(DIGITS_ADMIN_TOKEN=token, DIGITS_STATE=str(tmp_path / "state"))
    made = (tmp_path / "state" / "token").read_text().strip()
    assert status(server, made) == 404
    assert status(server, token) == 401


def test_server_processes_agree_on_one_token(start_server: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    server = start_server("--workers", "4", DIGITS_ADMIN_TOKEN=None, DIGITS_STATE=str(state), DIGITS_THREADS="1")
    wait_for(lambda: told(server, state / "token") == 4, "four processes that have the token")
    token = (state / "token").read_text().strip()
    assert Counter(status(server, token) for _ in range(40)) == {404: 40}
    assert [path.name for path in state.iterdir() if "token" in path.name] == ["token"]


def test_without_a_place_for_it_calls_are_refused_and_pictures_read(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    server = start_server(DIGITS_ADMIN_TOKEN=None, DIGITS_STATE=str(tmp_path / "file" / "state"))
    assert any(line["level"] == "warning" and "DIGITS_ADMIN_TOKEN" in line["message"] for line in server.lines())
    for token in ("", "None", TOKEN):
        assert status(server, token) == 401
    assert httpx.post(f"{server.url}/predict", files={"file": SEVEN}).json()["digit"] == 7


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n"])
def test_an_emptied_token_file_lets_nobody_in(start_server: Start, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "token").write_bytes(content)
    server = start_server(DIGITS_ADMIN_TOKEN=None, DIGITS_STATE=str(tmp_path / "state"))
    assert any(line["level"] == "warning" and "token" in line["message"] for line in server.lines())
    for token in ("", content.decode().strip()):
        assert status(server, token) == 401


@pytest.mark.parametrize("token", ["seven77", "two words", "naïve-token", "line-break\n"])
def test_a_token_that_cannot_be_one_stops_the_start(token: str) -> None:
    message = refused_start(DIGITS_ADMIN_TOKEN=token)
    assert "DIGITS_ADMIN_TOKEN" in message
    assert token.strip() not in message
