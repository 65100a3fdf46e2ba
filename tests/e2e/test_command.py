"""The command ``digits``, as an installation brings it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.registry import store
from tests.support.images import SEVEN
from tests.support.paths import IMAGES, ROOT
from tests.support.servers import environment, free_port
from tests.support.versions import SHIPPED
from tests.support.waiting import TIMEOUT_SECONDS, wait_for

DIGITS = str(Path(sys.executable).parent / "digits")


def digits(*arguments: str, cwd: Path, stdin: bytes = b"", **settings: str | None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [DIGITS, *arguments],
        cwd=cwd,
        env=environment(**settings),
        input=stdin,
        capture_output=True,
        timeout=10 * TIMEOUT_SECONDS,  # a conversion imports TensorFlow
    )
    return subprocess.CompletedProcess(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_it_reads_files(tmp_path: Path) -> None:
    names = [str(IMAGES / name) for name in ("seven.png", "three.jpg", "several.png")]
    done = digits("read", *names, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seven, three, several = (line.split() for line in done.stdout.splitlines())
    assert seven == [names[0], "7", "99.99%"]
    assert three[1] == "3"
    assert several[3:] == ["several_digits"]
    assert list(tmp_path.iterdir()) == []


def test_without_versions_it_reads_with_the_one_that_ships(tmp_path: Path) -> None:
    done = digits("read", "-", cwd=tmp_path, stdin=SEVEN, DIGITS_MODELS=None)
    assert done.stdout.split() == ["-", "7", "99.99%"]
    assert list(tmp_path.iterdir()) == []


def test_json_is_what_predict_replies(tmp_path: Path, client: httpx.Client) -> None:
    done = digits("read", "--json", str(IMAGES / "seven.png"), "nothing.png", cwd=tmp_path)
    assert done.returncode == 1
    seven, nothing = map(json.loads, done.stdout.splitlines())
    reply = client.post("/predict", files={"file": (IMAGES / "seven.png").read_bytes()}).json()
    assert seven == {"file": str(IMAGES / "seven.png")} | reply
    assert nothing["file"] == "nothing.png"
    assert nothing["error"]["detail"] == "no such file or directory"


def test_what_cannot_be_read_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "page.pdf").write_bytes(b"%PDF-1.4")
    done = digits("read", "page.pdf", str(IMAGES / "seven.png"), ".", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.split()[1] == "7"
    page, folder = done.stderr.splitlines()
    assert page.startswith("digits: page.pdf: the file is a PDF document; send PNG")
    assert folder == "digits: .: is a directory"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"DIGITS_THREADS": "x"}, "digits: DIGITS_THREADS: "),
        ({"DIGITS_MODELS": "/nowhere", "DIGITS_MODEL": "no.keras"}, "digits: DIGITS_MODEL: no.keras: no such file"),
    ],
)
def test_a_wrong_setting(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    done = digits("read", "-", cwd=tmp_path, stdin=SEVEN, **settings)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


@contextlib.contextmanager
def serving(command: list[str], cwd: Path, url: str, **settings: str | None) -> Iterator[str]:
    """The service as a process of its own, from when it is ready until it has stopped well."""
    with (cwd / "log").open("wb") as log:
        environ = environment(DIGITS_WORKER="external", **settings)
        process = subprocess.Popen(command, cwd=cwd, env=environ, stderr=log)

    def ready() -> bool:
        assert process.poll() is None, (cwd / "log").read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/health/ready").is_success
        return False

    try:
        wait_for(ready, "it is ready")
        yield url
    finally:
        process.terminate()
        status = process.wait(TIMEOUT_SECONDS)
    assert status == 0


def test_in_an_empty_folder_it_serves_the_version_that_ships(tmp_path: Path) -> None:
    command = [DIGITS, "serve", "--port", (port := str(free_port())), "--workers", "1"]
    with serving(command, tmp_path, f"http://127.0.0.1:{port}", DIGITS_MODELS=None, DIGITS_STATE=None) as url:
        assert httpx.post(f"{url}/predict", files={"file": SEVEN}).json()["digit"] == 7
    assert (tmp_path / "models/digits/CURRENT").read_text() == "1\n"


def test_a_saved_keras_file_is_served_as_it_is(tmp_path: Path) -> None:
    """It is converted once, into a folder of its own; another range of pixels is another conversion."""
    model = SHIPPED / "1" / "model.keras"
    settings = {"DIGITS_MODELS": None, "DIGITS_STATE": None, "DIGITS_MODEL": str(model)}
    done = digits("read", str(IMAGES / "seven.png"), cwd=tmp_path, **settings)
    assert done.stdout.split()[1] == "7", done.stderr
    (folder,) = (tmp_path / "state/keras").iterdir()
    manifest = store.verify(folder / "1").manifest
    assert (manifest.recipe, manifest.metrics, manifest.tta_threshold) == (None, {}, None)
    assert not (tmp_path / "runs").exists()
    converted = (folder / "1" / store.MANIFEST).stat()
    assert digits("read", str(IMAGES / "three.jpg"), cwd=tmp_path, **settings).stdout.split()[1] == "3"
    assert (folder / "1" / store.MANIFEST).stat() == converted
    command = [DIGITS, "serve", "--model", str(model), "--port", (port := str(free_port())), "--workers", "1"]
    with serving(command, tmp_path, f"http://127.0.0.1:{port}", DIGITS_MODELS=None, DIGITS_STATE=None) as url:
        card = httpx.get(f"{url}/models/1").json()["card"]
        assert card["recipe"] is None
        assert httpx.post(f"{url}/predict", files={"file": SEVEN}).json()["digit"] == 7


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "network.keras").write_text("nothing of the kind")
    done = digits("serve", "--model", "network.keras", cwd=tmp_path, DIGITS_MODELS=None, DIGITS_STATE=None)
    assert done.returncode == 1
    (line,) = map(json.loads, done.stderr.splitlines()[-1:])
    assert "network.keras is not a Keras file that can be loaded" in line["message"]


def test_training_has_a_command_line_of_its_own(tmp_path: Path) -> None:
    done = digits("train", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "fit" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["read", "--help"], ["worker", "--help"]])
def test_help(tmp_path: Path, arguments: list[str]) -> None:
    done = digits(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: digits")


def test_the_version_that_ships_is_the_one_that_is_packaged() -> None:
    number = (ROOT / "models/digits/CURRENT").read_text().strip()
    assert f'"share/digits/models/{number}" = ["models/digits/{number}/*.*"]' in (ROOT / "pyproject.toml").read_text()
