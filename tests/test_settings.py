"""Settings: where they come from, and what they change."""

from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.support.images import SEVEN
from tests.support.servers import Start

ORIGIN = "https://form.example.org"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """As docker compose passes one on that its user has left out."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"DIGITS_{name.upper()}", value)
    settings = Settings.from_environment()
    assert settings.models == Path("models/digits")
    assert settings.state == Path("state")
    assert settings == Settings()


def test_pages_of_other_origins_may_call_where_the_setting_says_so(start_server: Start) -> None:
    server = start_server(DIGITS_CORS_ORIGINS=f"https://other.example.org, {ORIGIN}", DIGITS_WORKER="external")
    with httpx.Client(base_url=server.url, headers={"origin": ORIGIN}) as client:
        preflight = client.options("/predict", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        for reply in (client.post("/predict", files={"file": SEVEN}), client.post("/predict"), client.get("/nothing")):
            assert reply.headers["access-control-allow-origin"] == ORIGIN
        strange = client.options("/predict", headers=PREFLIGHT | {"origin": "https://elsewhere.example.org"})
        assert "access-control-allow-origin" not in strange.headers


def test_by_default_they_may_not(client: httpx.Client) -> None:
    assert client.options("/predict", headers=PREFLIGHT).status_code == 405
    assert "access-control-allow-origin" not in client.post("/predict", files={"file": SEVEN}).headers


def test_behind_a_proxy_with_tls_nothing_leads_back_to_plain_http(client: httpx.Client) -> None:
    """The proxy's address is not known to be trusted, so that the scheme is not known either."""
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "10.1.2.3"}
    reply = client.post("/predict/", files={"file": SEVEN}, headers=headers)
    assert (reply.status_code, reply.json()["digit"]) == (200, 7)
    assert client.get("/models/", headers=headers).status_code == 200
    page = client.get("/", headers=headers | {"accept": "text/html"})
    assert page.status_code == 200
    assert "http:" not in page.text
