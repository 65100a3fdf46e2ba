"""The documents say what is so: their commands and snippets run, and what they list is complete."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from unittest import mock

import httpx
import pytest

from app.api.problems import PROBLEMS, REJECTIONS
from app.registry import store
from app.settings import Settings
from tests.support.calls import metric
from tests.support.documents import PAGES, ROOT, blocks, commands
from tests.support.images import SEVEN
from tests.support.paths import IMAGES
from tests.support.servers import TOKEN, Start, environment
from tests.support.versions import SHIPPED
from tests.support.waiting import TIMEOUT_SECONDS
from training.__main__ import main as train
from training.model_card import wilson

README = PAGES["README.md"]
COMMANDS = list(dict.fromkeys(line for text in PAGES.values() for line in commands(text)))
SNIPPETS = [snippet for text in PAGES.values() for snippet in blocks(text, "python")]
ADDRESS = "http://127.0.0.1:8000"

# Run by CI as they stand, or by test_docker.py.
ELSEWHERE = ("make ", "docker ", "DIGITS_TAG=", "echo ", ". ./.env", "pip ")
# Of training, those that take long and have tests of their own, or take what is not here.
LONG = ("reproduce", "model-card", "--final")


def of(kind: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(kind)]


def test_every_command_is_of_a_kind_that_is_run() -> None:
    kinds = ("curl ", "uvicorn ", "digits read ", "digits serve ", "digits train ", ".venv/bin/python -m benchmarks")
    assert {line for kind in (*kinds, *ELSEWHERE) for line in of(kind)} == set(COMMANDS)


@pytest.mark.parametrize("command", of("make "))
def test_make_targets_exist(command: str) -> None:
    subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=ROOT, check=True, capture_output=True)


def test_the_benchmarks_exist() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^    ([a-z]+)", done.stdout, re.MULTILINE))
    assert {command.split()[3] for command in of(".venv/bin/python -m benchmarks ")} | {"plot"} == known


def test_what_docker_builds_is_a_target_of_the_dockerfile() -> None:
    (command,) = of("docker build ")
    target = re.findall(r"--target (\S+)", command)[0]
    assert re.search(rf"^FROM \S+ AS {target}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_uvicorn(start_server: Start) -> None:
    (line,) = of("uvicorn ")
    server = start_server(
        program=lambda port: [sys.executable, "-m", *line.split(), "--port", str(port)], DIGITS_WORKER="external"
    )
    reply = httpx.post(f"{server.url}/predict", files={"file": SEVEN})
    assert reply.json()["digit"] == 7
    assert "server" not in reply.headers


@pytest.mark.parametrize("command", of("curl "))
def test_curl(client: httpx.Client, tmp_path: Path, command: str) -> None:
    line = command.replace(ADDRESS, str(client.base_url).rstrip("/")).replace("/tmp/", f"{tmp_path}/")
    # No worker takes the job here, so its events would not end.
    line += " -sS -w '\n%{http_code}'" + (" --max-time 1 || true" if "/events" in line else "")
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env=os.environ | {"DIGITS_ADMIN_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    if "picture=" in command or "strict=true" in command:  # those that show what an error looks like
        assert (status, json.loads(body)["status"]) == ("422", 422)
        return
    accepted = {"/retrain": "202", "DELETE": "202", "label=": "201"}
    assert status == next((accepted[word] for word in accepted if word in command), "200")
    if "--output" in command:
        assert zipfile.is_zipfile(tmp_path / "feedback.zip")
        return
    assert body
    if "/predict" in command:
        reply = json.loads(body)
        if "several." in command:
            assert (reply["accepted"], reply["reason"]) == (False, "several_digits")
            return
        answers = [reading["digit"] for reading in reply.get("predictions", [reply]) if reading["accepted"]]
        assert answers == shown_digits(command)


def shown_digits(text: str) -> list[int]:
    """What the test images that a text names show."""
    return [
        {"two": 2, "three": 3, "five": 5, "seven": 7}[name] for name in re.findall(r"(seven|three|five|two)\.", text)
    ]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python(client: httpx.Client, snippet: str) -> None:
    program = snippet.replace(ADDRESS, str(client.base_url).rstrip("/"))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    digits = shown_digits(snippet)
    expected = [str(digits[0]), str(digits), f"{{'digit': {digits[0]}, "]
    assert done.stdout.startswith(tuple(expected)), done.stdout


CALLS = re.findall(r"^\| [\w ]+ \| `(curl .*?)` \| `(api\..*?)` \|$", README, re.MULTILINE)


@pytest.mark.parametrize(("command", "call"), CALLS, ids=[call for _, call in CALLS])
def test_calls_of_the_readme(client: httpx.Client, command: str, call: str) -> None:
    """Both do the same. The values of the names are those that the README gives."""
    url, token = str(client.base_url).rstrip("/"), f"Bearer {TOKEN}"
    line = f"API={url} TOKEN='Authorization: {token}'; {command} -sS -o /dev/null -w '%{{http_code}}'"
    done = subprocess.run(["bash", "-c", line], cwd=IMAGES, capture_output=True, text=True, check=True)
    program = (
        f"import httpx; api = httpx.Client(base_url={url!r}); token = {{'Authorization': {token!r}}}; "
        f"print({call}.status_code)"
    )
    python = subprocess.run([sys.executable, "-c", program], cwd=IMAGES, capture_output=True, text=True, check=True)
    assert {done.stdout, python.stdout.strip()} <= {"200", "201", "202"}


def test_the_readme_has_calls() -> None:
    assert len(CALLS) == 9


@pytest.mark.parametrize("command", of("digits read "))
def test_digits_read(command: str) -> None:
    program = Path(sys.executable).parent / "digits"
    done = subprocess.run(
        [program, *command.split()[1:]],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    lines = done.stdout.splitlines()
    digits = [json.loads(line)["digit"] if "--json" in command else int(line.split()[1]) for line in lines]
    assert digits == shown_digits(command)


def test_digits_serve_has_the_options_that_are_told() -> None:
    told = set(re.findall(r"`(--\w+)", PAGES["docs/configuration.md"].partition("option of `digits serve`")[2]))
    program = Path(sys.executable).parent / "digits"
    done = subprocess.run(
        [program, "serve", "--help"], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
    )
    known = set(re.findall(r"^  (--\w+)", done.stdout, re.MULTILINE))
    assert known <= told
    assert {word for command in of("digits serve ") for word in command.split() if word.startswith("--")} <= known


def test_training(small_data: Path, tmp_path: Path) -> None:
    """On small data and for one epoch; otherwise as they stand, in their order."""
    lines = [line for line in of("digits train ") if not any(word in line.split() for word in LONG)]
    assert {line.split()[2] for line in lines} == {
        *("explore", "fit", "evaluate", "activate", "look", "describe", "crossval", "export")
    }
    shutil.copytree(SHIPPED, tmp_path / "models/digits")
    for name, kind in (("my-recipe.toml", "toml"), ("my_network.py", "py")):
        (text,) = blocks(PAGES["docs/training.md"], kind)
        (tmp_path / name).write_text(text)
    for line in lines:
        line = line.replace("my-network.keras", "models/digits/1/model.keras").replace("--folds 5", "--folds 2")
        line = line.replace("tests/images", str(ROOT / "tests/images")).replace("--data my-data --no-verify", "")
        words = line.split()[2:]
        learns_nothing = {"activate", "look", "describe", "--format"} & set(words)
        words += [] if learns_nothing else ["--data", str(small_data), "--no-verify"]
        words += ["--epochs", "1"] if {"fit", "crossval"} & set(words) else []
        with warnings.catch_warnings():
            if "--format" in words:  # the exporters and runtimes of others warn of each other's versions
                warnings.simplefilter("ignore")
            run_training(tmp_path, words)
    assert store.numbers(tmp_path / "models/digits")[-1] > 2


def run_training(folder: Path, words: list[str]) -> None:
    """Run a command in this process, where the libraries are imported already, and in this folder."""
    output, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with (
            contextlib.chdir(folder),
            mock.patch.dict(os.environ, environment(), clear=True),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            assert train(words) == 0, output.getvalue()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_all_commands_of_training_are_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = set(re.findall(r"^    ([a-z-]+)", done.stdout, re.MULTILINE))
    assert {"fit", "model-card"} <= names
    assert [name for name in sorted(names) if f"`{name}" not in PAGES["docs/training.md"]
            and f"digits train {name}" not in PAGES["docs/training.md"]] == []  # fmt: skip


def shown_json() -> list[dict[str, object]]:
    return [json.loads(block) for text in PAGES.values() for block in blocks(text, "json")]


def test_the_replies_shown_are_the_replies(client: httpx.Client) -> None:
    reply = client.post("/predict", files={"file": (ROOT / "tests/images/seven.png").read_bytes()}).json()
    shown = [block for block in shown_json() if "digit" in block]
    assert len(shown) == 2
    for block in shown:
        assert list(block) == list(reply)
        for name in ("digit", "accepted", "reason", "model"):
            assert block[name] == reply[name]
        probabilities = block["probabilities"]
        assert isinstance(probabilities, list)
        assert block["confidence"] == max(probabilities)
        assert probabilities == pytest.approx(reply["probabilities"], abs=1e-5)


def test_the_problems_shown_are_the_problems(client: httpx.Client) -> None:
    several = {"file": (ROOT / "tests/images/several.png").read_bytes()}
    shown = [block for block in shown_json() if "detail" in block]
    assert len(shown) == len(shown_json()) - 2 > 0
    for block in shown:
        headers = {"x-request-id": str(block["request_id"])}
        assert client.post("/predict?strict=true", files=several, headers=headers).json() == block


def test_all_settings_are_told() -> None:
    untold = [
        name for name in Settings.model_fields if f"| `DIGITS_{name.upper()}`" not in PAGES["docs/configuration.md"]
    ]
    assert not untold


def test_all_calls_are_told(client: httpx.Client) -> None:
    api = client.get("/openapi.json").json()
    page = PAGES["docs/api.md"]
    assert [path for path in api["paths"] if f"{path}`" not in page and f"{path}**" not in page] == []


def test_all_problems_are_told() -> None:
    slugs = [problem.slug for problem in (*PROBLEMS.values(), *REJECTIONS.values())]
    assert [slug for slug in slugs if f"`{slug}`" not in PAGES["docs/api.md"]] == []


def test_all_reasons_are_told_in_the_readme() -> None:
    assert [reason for reason in REJECTIONS if f"| `{reason}` |" not in README] == []


def test_all_metrics_are_told(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    assert metric(text, 'digits_model_version{name="digits"}') == 1
    names = re.findall(r"^# TYPE (digits_\w+) ", text, re.MULTILINE)
    names = [name for name in names if not name.endswith("_created")]
    assert [name for name in names if f"`{name}`" not in PAGES["docs/operations.md"]] == []


LINKS = [(page, target) for page, text in PAGES.items() for target in re.findall(r"\]\(([^)\s]+)\)", text)]


@pytest.mark.parametrize(("page", "target"), [link for link in LINKS if "://" not in link[1]])
def test_links_lead_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    assert found.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
        assert anchor in map(anchor_of, headings)


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {target for page, target in LINKS if page == "README.md"}
    assert {page for page in PAGES if page != "README.md"} <= linked


def test_the_readme_is_short() -> None:
    assert 550 <= len(README.split()) <= 850


def test_the_figures_are_those_of_the_manifest() -> None:
    metrics = store.read_manifest(SHIPPED / "1").metrics["test"]
    low, high = wilson(metrics.correct, metrics.images)
    accuracy, interval = f"{100 * metrics.accuracy:.2f} %", f"{100 * low:.2f} to {100 * high:.2f} %"
    assert f"**{metrics.correct:,} of the {metrics.images:,} MNIST test images are correct: {accuracy}**" in README
    assert f"(95 % confidence interval {interval})" in README
    assert metrics.brier is not None
    assert metrics.ece is not None
    assert metrics.accepted is not None
    row = [f"{metrics.images:,}", f"{metrics.correct:,}", accuracy, interval, f"{metrics.nll:.4f}"]
    row += [f"{metrics.brier:.4f}", f"{100 * metrics.ece:.2f} %", f"{100 * metrics.accepted:.2f} %"]
    assert f"| {' | '.join(row)} |" in PAGES["docs/model-card.md"]
    assert f"[all {metrics.images - metrics.correct} errors]" in PAGES["docs/model-card.md"]
    assert (ROOT / "LICENSE").exists()
