"""The page and its files over HTTP; what it does in a browser is tested in ``tests/e2e/test_page.py``."""

import asyncio
import gzip
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from app.api.page import FOLDER, routes

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
MAX_BYTES = 60_000


def files(client: httpx.Client) -> dict[str, httpx.Response]:
    """All files of the page, by following what each names."""
    found: dict[str, httpx.Response] = {}
    waiting = re.findall(r'"(page/[^"]+)"', client.get("/", headers=BROWSER).text)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = client.get(f"/{path}")
            waiting += [f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', found[path].text)]
    return found


def names(folder: Path) -> set[str]:
    """The names under which the files of a folder are published."""
    root, file = routes(folder)

    def body(endpoint: Any, **path_params: str) -> str:
        scope = {"type": "http", "headers": [(b"accept", b"text/html")], "path_params": path_params}
        return bytes(asyncio.run(endpoint(Request(scope))).body).decode()

    found: set[str] = set()
    waiting = re.findall(r'"page/([^"]+)"', body(root.endpoint))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += re.findall(r'from "\./([^"]+)"', body(file.endpoint, name=name))
    return found


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (BROWSER["accept"], True),
        ("text/html", True),
        ("application/json, Text/HTML; q=0.5", True),
        ("*/*", False),
        ("application/json", False),
        ("text/html;q=0, */*", False),
        ("", False),
    ],
)
def test_the_page_goes_to_those_who_take_html(client: httpx.Client, accept: str, is_page: bool) -> None:
    reply = client.get("/", headers={"accept": accept})
    assert reply.status_code == 200
    assert "Accept" in re.split(r",\s*", reply.headers["vary"])
    if is_page:
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.text.startswith("<!doctype html>")
    else:
        assert reply.json() == {"status": "alive"}


def test_nothing_comes_from_elsewhere_and_nothing_inline_runs(client: httpx.Client) -> None:
    page = client.get("/", headers=BROWSER)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    for reply in (page, *files(client).values()):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert set(re.findall(r"https?://[\w./]+", reply.text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script(?![^>]*src)|<style|\sstyle=|\son\w+=", page.text)


def test_names_of_files_change_with_their_content_so_they_are_kept_forever(client: httpx.Client) -> None:
    assert client.get("/", headers=BROWSER).headers["cache-control"] == "no-cache"
    found = files(client)
    assert {re.sub("-[0-9a-f]{12}", "", Path(path).name) for path in found} == {
        path.name for path in FOLDER.iterdir() if path.suffix != ".html"
    }
    for path, reply in found.items():
        assert reply.status_code == 200
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert hashlib.sha256(reply.content).hexdigest()[:12] in path
    assert client.get("/page/page-000000000000.js").status_code == 404


def test_a_change_of_a_file_changes_the_names_of_all_that_name_it(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "page")
    before = names(folder)
    (folder / "texts.js").write_text((folder / "texts.js").read_text() + "\n// changed\n")
    changed = {re.sub("-[0-9a-f]{12}", "", name) for name in before - names(folder)}
    assert {"texts.js", "page.js", "teaching.js"} <= changed
    assert not changed & {"page.css", "icon.svg", "paper.js"}


def test_it_is_small(client: httpx.Client) -> None:
    page = client.get("/", headers=BROWSER)
    assert sum(len(reply.content) for reply in (page, *files(client).values())) < MAX_BYTES


def test_files_are_sent_compressed(client: httpx.Client) -> None:
    (path,) = (path for path in files(client) if path.endswith(".css"))
    with client.stream("GET", f"/{path}", headers={"accept-encoding": "gzip"}) as reply:
        assert reply.headers["content-encoding"] == "gzip"
        compressed = b"".join(reply.iter_raw())
    plain = client.get(f"/{path}", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(compressed) == plain.content
    assert len(compressed) < len(plain.content) / 2


def test_all_that_it_says_is_in_both_languages() -> None:
    html, texts = (FOLDER / "index.html").read_text(), (FOLDER / "texts.js").read_text()
    of_page, of_scripts = texts.split("const TEXTS = {")
    german = set(re.findall(r"^\t(\w+): \"", of_page, re.MULTILINE))
    assert set(re.findall(r'data-(?:text|label)="(\w+)"', html)) == german
    both = dict(re.findall(r'^\t"?([\w-]+)"?: \[(".*", |, )".*"\],$', of_scripts, re.MULTILINE))
    scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
    used = set(re.findall(r'\btext\("([\w-]+)"', scripts))
    assert used <= set(both)
    assert all(both[key] != ", " for key in used - {"unauthorized"})
    for key, pair in re.findall(r'^\t"?([\w-]+)"?: (\[".*"\]),$', of_scripts, re.MULTILINE):
        english, german_text = re.findall(r'"([^"]*)"', pair)
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", german_text)), key
