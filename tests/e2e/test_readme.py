"""Every command of the README is run, and what it shows is what comes back."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import httpx
import pytest

from app.registry import store
from tests.support.images import SEVEN
from tests.support.paths import ROOT
from tests.support.readme import COMMANDS, README
from tests.support.servers import TOKEN, Start
from tests.support.training import run_here
from tests.support.versions import SHIPPED
from training.recipes import RECIPES

# Run by CI as they stand, or by test_docker.py.
ELSEWHERE = ("make ", "docker ", "DIGITS_TAG=", "echo ", ". ./.env")


def of(kind: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(kind)]


def test_every_command_is_of_a_kind_that_is_run() -> None:
    kinds = ("curl ", ".venv/bin/", "uvicorn ", *ELSEWHERE)
    assert set(COMMANDS) == {line for kind in kinds for line in of(kind)}


@pytest.mark.parametrize("command", of("make "))
def test_make_targets_exist(command: str) -> None:
    subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=ROOT, check=True, capture_output=True)


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
    url = str(client.base_url).rstrip("/")
    line = command.replace("http://127.0.0.1:8000", url).replace("/tmp/", f"{tmp_path}/")
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
        written = re.findall(r"(seven|three|five|two)\.", command)
        assert answers == [{"two": 2, "three": 3, "five": 5, "seven": 7}[name] for name in written]


def test_the_reply_shown_is_the_reply(client: httpx.Client) -> None:
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    reply = client.post("/predict", files={"file": (ROOT / "tests/images/seven.png").read_bytes()}).json()
    assert list(shown) == list(reply)
    for name in ("digit", "accepted", "reason", "model"):
        assert shown[name] == reply[name]
    assert shown["confidence"] == max(shown["probabilities"])
    assert shown["probabilities"] == pytest.approx(reply["probabilities"], abs=1e-5)


def test_the_problem_shown_is_the_problem(client: httpx.Client) -> None:
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[1])
    several = {"file": (ROOT / "tests/images/several.png").read_bytes()}
    headers = {"x-request-id": shown["request_id"]}
    assert client.post("/predict?strict=true", files=several, headers=headers).json() == shown


def test_training_commands(small_data: Path, tmp_path: Path) -> None:
    """On small data, for one epoch and with a small recipe; otherwise as they stand, in their order.

    test_reproduce.py runs its own.
    """
    commands = [line for line in of(".venv/bin/python -m training") if " reproduce " not in line]
    assert {line.split()[3] for line in commands} == {
        *("explore", "fit", "evaluate", "activate", "look", "describe", "crossval", "export")
    }
    shutil.copytree(ROOT / "models/digits/1", tmp_path / "models/digits/1")
    (tmp_path / "models/digits/CURRENT").write_text("1\n")
    for command in commands:
        line = command.replace("my-network.keras", "models/digits/1/model.keras").replace("--folds 5", "--folds 2")
        line = line.replace("tests/images", str(ROOT / "tests/images"))
        words = line.split()[3:]
        if words[0] == "fit":
            assert words[1] in RECIPES
            words[1] = "quick"
        learns_nothing = {"activate", "look", "describe", "--format"} & set(words)
        more = [] if learns_nothing else ["--data", str(small_data), "--no-verify"]
        more += ["--epochs", "1"] if {"fit", "crossval"} & set(words) else []
        with warnings.catch_warnings():
            if "--format" in words:  # the exporters and runtimes of others warn of each other's versions
                warnings.simplefilter("ignore")
            run_here(tmp_path, *words, *more)
    assert store.numbers(tmp_path / "models/digits")


def test_the_settings_are_all_told() -> None:
    from app.settings import Settings

    for name in Settings.model_fields:
        assert f"`DIGITS_{name.upper()}`" in README
    assert os.path.exists(ROOT / "LICENSE")


def test_the_figures_are_those_of_the_manifest() -> None:
    metrics = store.read_manifest(SHIPPED / "1").metrics["test"]
    assert f"{metrics.accuracy:.2%}".replace("%", " %") in README
