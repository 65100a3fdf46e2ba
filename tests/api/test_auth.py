"""Who may change something, and where the token comes from."""

import hashlib
import logging
import socket
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from app.api.auth import load_admin_digest
from app.settings import Settings, validation_message
from tests.support.calls import check
from tests.support.images import SEVEN
from tests.support.servers import AUTHORISED, TOKEN, refused_start, served
from tests.support.waiting import TIMEOUT_SECONDS


def status(client: httpx.Client, token: str) -> int:
    """What a call that needs the token answers to this one: 404 where it is right."""
    headers = {"authorization": f"Bearer {token}".strip()}
    return client.post("/models/999/activate", headers=headers).status_code


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


def test_without_the_token_nothing_is_told(client: httpx.Client) -> None:
    """Whatever is missing or wrong, and whether the version exists or not."""
    plain = client.post("/models/1/activate").json()
    for headers in WRONG:
        for version in ("1", "999", "first"):
            reply = client.post(f"/models/{version}/activate", headers=headers)
            problem = check(reply, 401, "Authorization: Bearer")
            assert problem["type"] == "urn:digits:problem:unauthorized"
            assert reply.headers["www-authenticate"] == "Bearer"
            assert {**problem, "request_id": ""} == {**plain, "request_id": ""}, (headers, version)


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


def test_a_token_is_made_once_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "deep" / "state"
    with caplog.at_level(logging.INFO), served(state, admin_token=None) as client:
        token = (state / "token").read_text().strip()
        assert len(token) >= 20
        assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert status(client, token) == 404
        assert status(client, TOKEN) == 401
    with caplog.at_level(logging.INFO), served(state, admin_token=None) as client:
        assert (state / "token").read_text().strip() == token
        assert status(client, token) == 404
    assert caplog.messages.count(f"the admin token is in {state / 'token'}") == 2
    assert token not in caplog.text  # logs are collected and kept


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


def test_an_empty_token_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file sets a variable that is empty where nobody set it."""
    monkeypatch.setenv("DIGITS_STATE", str(tmp_path))
    for token in ("", " "):
        monkeypatch.setenv("DIGITS_ADMIN_TOKEN", token)
        expected = load_admin_digest(Settings.from_environment())
        assert expected == hashlib.sha256((tmp_path / "token").read_bytes().strip()).digest()
        assert expected != hashlib.sha256(token.encode()).digest()


def test_processes_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    """Each by itself; here they are threads."""
    together = threading.Barrier(8)

    def load(_: int) -> bytes | None:
        together.wait(TIMEOUT_SECONDS)
        return load_admin_digest(Settings(state=tmp_path))

    with ThreadPoolExecutor(8) as threads:
        (digest,) = set(threads.map(load, range(8)))
    assert digest == hashlib.sha256((tmp_path / "token").read_bytes().strip()).digest()
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_without_a_place_for_it_calls_are_refused_and_pictures_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with served(tmp_path / "file" / "state", admin_token=None) as client:
        for token in ("", "None", TOKEN):
            assert status(client, token) == 401, token
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
    assert any(line.levelname == "WARNING" and "DIGITS_ADMIN_TOKEN" in line.message for line in caplog.records)


def test_an_emptied_token_file_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for content in ("", "\n", "short\n"):
        caplog.clear()
        (tmp_path / "token").write_text(content)
        assert load_admin_digest(Settings(state=tmp_path)) is None, content
        assert "holds no admin token" in caplog.text
    with served(tmp_path, admin_token=None) as client:
        for token in ("", content.strip()):
            assert status(client, token) == 401


def test_a_token_that_cannot_be_one_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("seven77", "two words", "naïve-token", "line-break\n"):
        monkeypatch.setenv("DIGITS_ADMIN_TOKEN", token)
        with pytest.raises(ValidationError) as told:
            Settings.from_environment()
        assert "DIGITS_ADMIN_TOKEN" in validation_message(told.value)
        assert token.strip() not in validation_message(told.value)
    message = refused_start(DIGITS_ADMIN_TOKEN=token)
    assert "DIGITS_ADMIN_TOKEN" in message
    assert token.strip() not in message
