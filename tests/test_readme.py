"""Every command of the README is run, and what it shows is what comes back."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.training.test_command_line import environment
from training import versions

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
# Run by CI as they stand.
ELSEWHERE = ("make ",)


def of(kind: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(kind)]


def test_every_command_is_of_a_kind_that_is_run() -> None:
    assert set(COMMANDS) == {*of("curl "), *of(".venv/bin/"), *(line for kind in ELSEWHERE for line in of(kind))}


@pytest.mark.parametrize("command", of("make "))
def test_make_targets_exist(command: str) -> None:
    subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", of("curl "))
def test_curl(client: httpx.Client, command: str) -> None:
    url = str(client.base_url).rstrip("/")
    done = subprocess.run(
        ["bash", "-c", command.replace("http://127.0.0.1:8000", url) + " -sS -w '\n%{http_code}'"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    if "picture=" in command:  # the one that shows what an error looks like
        assert (status, json.loads(body)["status"]) == ("422", 422)
        return
    assert status == "200"
    assert body
    if "/predict" in command:
        reply = json.loads(body)
        answers = [reading["digit"] for reading in reply.get("predictions", [reply])]
        written = re.findall(r"(seven|three|five|two)\.", command)
        assert answers == [{"two": 2, "three": 3, "five": 5, "seven": 7}[name] for name in written]


def test_the_reply_shown_is_the_reply(client: httpx.Client) -> None:
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    reply = client.post("/predict", files={"file": (ROOT / "tests/images/seven.png").read_bytes()}).json()
    assert shown["model"] == reply["model"]
    assert shown["digit"] == reply["digit"]
    assert shown["probabilities"] == pytest.approx(reply["probabilities"], abs=1e-6)


def test_training_commands(small_data: Path, tmp_path: Path) -> None:
    """On small data and for one epoch; otherwise as they stand, in their order."""
    commands = of(".venv/bin/python -m training")
    assert {line.split()[3] for line in commands} == {
        *("explore", "fit", "evaluate", "activate", "describe", "crossval", "export")
    }
    for command in commands:
        line = command.replace("my-network.keras", "models/digits/1/model.keras").replace("--folds 5", "--folds 2")
        words = line.split()[1:]
        more = [] if {"activate", "describe", "--format"} & set(words) else ["--data", str(small_data), "--no-verify"]
        more += ["--epochs", "1"] if {"fit", "crossval"} & set(words) else []
        done = subprocess.run(
            [sys.executable, *words, *more],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert versions.numbers(tmp_path / "models/digits")


def test_the_settings_are_all_told() -> None:
    from app.settings import Settings

    for name in Settings.model_fields:
        assert f"`DIGITS_{name.upper()}`" in README
    assert os.path.exists(ROOT / "LICENSE")


def test_the_figures_are_those_of_the_card() -> None:
    models = ROOT / "models/digits"
    metrics = versions.card_of(models / str(versions.current(models))).metrics["test"]
    assert f"{metrics.accuracy:.2%}".replace("%", " %") in README
