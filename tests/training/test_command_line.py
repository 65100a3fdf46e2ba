"""The command line as its users run it: processes, files, exit statuses."""

import csv
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from app.registry import store
from app.registry.manifest import FORMAT
from tests.support.images import write_idx
from tests.support.training import command, environment, run, run_here
from training import data

# So many that a training can be killed long before it ends; each takes a tenth of a second.
EPOCHS = 12


def fit(small_data: Path, *more: str) -> list[str]:
    return ["fit", "quick", "--data", str(small_data), "--no-verify", "--epochs", str(EPOCHS), *more]


@pytest.fixture(scope="module")
def trained(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `fit` has run from beginning to end."""
    folder = tmp_path_factory.mktemp("fit")
    output = run_here(folder, *fit(small_data))
    assert "published as version 1" in output
    assert f"epoch {EPOCHS}/{EPOCHS}" in output
    return folder


def test_fit_publishes_a_whole_version(trained: Path, small_data: Path) -> None:
    version = store.verify(trained / "models/digits/1")
    manifest = version.manifest
    assert manifest.recipe is not None
    assert (manifest.recipe["name"], manifest.recipe["epochs"], manifest.seed) == ("quick", EPOCHS, 0)
    assert manifest.metrics["validation"].images == 100
    assert set(manifest.data) == {"train", "validation"}
    assert store.current(trained / "models/digits") == 1
    for picture in ("curves.png", "confusion.png", "mistakes.png"):
        with Image.open(version.path / "report" / picture) as image:
            assert min(image.size) > 100
    rows = list(csv.DictReader((version.path / "report/history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(EPOCHS)]
    assert float(rows[0]["val_accuracy"]) >= 0


def test_a_finished_run_is_not_published_twice(trained: Path, small_data: Path) -> None:
    assert "--fresh" in run_here(trained, *fit(small_data), status=2)
    assert store.numbers(trained / "models/digits") == [1]


def test_evaluate_measures_the_same_again(trained: Path, small_data: Path) -> None:
    output = run_here(trained, "evaluate", "1", "--data", small_data, "--no-verify")
    assert "on validation" in output
    assert "its manifest says: the same" in output
    assert "on test" in run_here(trained, "evaluate", "1", "--data", small_data, "--no-verify", "--split", "test")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras cannot download MNIST."""
    import keras

    def fail() -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)


def test_export_reports_to_nobody(trained: Path, small_data: Path, tmp_path: Path) -> None:
    """The converter that writes the graph would report to its makers over the network, and note at home who we are."""
    file = trained / "models/digits/1/model.keras"
    with socket.create_server(("127.0.0.1", 0)) as everybody:
        proxy = f"http://127.0.0.1:{everybody.getsockname()[1]}"
        arguments = ["export", file, "--data", small_data, "--no-verify", "--models", tmp_path / "models"]
        output = run(trained, *arguments, https_proxy=proxy, HTTPS_PROXY=proxy, HOME=str(tmp_path), CI="")
        everybody.setblocking(False)
        with pytest.raises(BlockingIOError):
            everybody.accept()
    assert not (tmp_path / "intel").exists()
    assert "published as version 1" in output
    assert "test: " in output


def test_export_and_activate(trained: Path, tmp_path: Path, offline: None) -> None:
    file = trained / "models/digits/1/model.keras"
    shutil.copytree(trained / "models", tmp_path / "models")
    assert "nowhere" in run_here(tmp_path, "export", file, "--data", "nowhere", status=2)
    output = run_here(tmp_path, "export", file)
    assert "not measured" in output
    assert "version 1 still serves" in output
    run_here(tmp_path, "activate", "2")
    assert store.current(tmp_path / "models/digits") == 2
    assert store.read_manifest(tmp_path / "models/digits/2").metrics == {}


def test_kill_in_the_middle_and_start_again(trained: Path, small_data: Path, tmp_path: Path) -> None:
    """Killed after the first epoch: goes on with the second, and ends as the run that nobody disturbed."""
    checkpoint = tmp_path / "runs/quick-0/checkpoint.npz"
    process = subprocess.Popen(
        command(*fit(small_data)), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "models").exists()
    output = run_here(tmp_path, *fit(small_data))
    assert f"epoch 1/{EPOCHS}" not in output
    assert f"epoch {EPOCHS}/{EPOCHS}" in output
    reference, resumed = (store.read_manifest(folder / "models/digits/1") for folder in (trained, tmp_path))
    assert resumed.metrics == reference.metrics
    assert resumed.files[store.WEIGHTS] == reference.files[store.WEIGHTS]


def test_evaluate_tells_when_figures_do_not_compare(trained: Path, tmp_path: Path) -> None:
    other = write_idx(tmp_path / "other", 120, 30, seed=5)
    assert "on other images" in run_here(trained, "evaluate", "1", "--data", other, "--no-verify")


def test_a_run_that_another_process_holds_is_worth_another_try(small_data: Path, tmp_path: Path) -> None:
    """The service's worker tells this status from a mistake, and lets the job wait."""
    (tmp_path / "taken").mkdir()
    with (tmp_path / "taken" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output = run_here(tmp_path, *fit(small_data, "--run", "taken"), status=os.EX_TEMPFAIL)
        assert "another process" in output
        # Nor is what that one has made so far removed.
        (tmp_path / "taken" / "run.json").write_text("{}")
        assert "another" in run_here(tmp_path, *fit(small_data, "--run", "taken", "--fresh"), status=os.EX_TEMPFAIL)
        assert (tmp_path / "taken" / "run.json").exists()


def test_fresh_never_empties_a_folder_that_is_no_run(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    arguments = fit(small_data, "--run", "precious", "--fresh")
    assert "--fresh does not empty it" in run_here(tmp_path, *arguments, status=2)
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_sigterm_leaves_no_service_and_no_files_behind(trained: Path, small_data: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        command("evaluate", "1", "--data", small_data, "--no-verify"),
        cwd=trained,
        env=environment(TMPDIR=str(temporary)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(temporary.glob("digits-*/log")):
        assert time.monotonic() < deadline
        if process.poll() is not None:
            break
        time.sleep(0.005)
    process.terminate()
    assert process.wait(30) in (128 + signal.SIGTERM, 0)
    assert list(temporary.iterdir()) == []
    running = subprocess.run(["pgrep", "-f", str(temporary)], capture_output=True, text=True, check=False)
    assert running.stdout == ""


def test_the_service_that_measures_is_not_the_callers(trained: Path, small_data: Path, tmp_path: Path) -> None:
    """A file called app.py in the folder, a long path for temporary files, and settings of another server."""
    (trained / "app.py").write_text("raise RuntimeError")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    try:
        arguments = ["evaluate", "1", "--data", str(small_data), "--no-verify"]
        counted = tmp_path / "counted"
        counted.mkdir()
        settings = {"WEB_CONCURRENCY": "2", "DIGITS_MAX_BATCH": "1", "PROMETHEUS_MULTIPROC_DIR": str(counted)}
        output = run(trained, *arguments, TMPDIR=str(long), **settings)
        assert list(counted.iterdir()) == []
    finally:
        (trained / "app.py").unlink()
    assert "its manifest says: the same" in output


def test_a_version_that_does_not_start_is_named(trained: Path, small_data: Path, tmp_path: Path) -> None:
    """Right digests, but a graph of another network: the service refuses, and its reason is passed on."""
    shutil.copytree(trained / "models", tmp_path / "models")
    version = tmp_path / "models/digits/1"
    manifest = json.loads((version / "card.json").read_text())
    graph = (version / "model.xml").read_text().replace(manifest["files"]["model.keras"], "0" * 64)
    (version / "model.xml").write_text(graph)
    manifest["files"]["model.xml"] = store.digest(version / "model.xml")
    (version / "card.json").write_text(json.dumps(manifest))
    output = run_here(tmp_path, "evaluate", "1", "--data", small_data, "--no-verify", status=2)
    assert "made from another model.keras" in output.splitlines()[-1]


def test_explore(small_data: Path, tmp_path: Path) -> None:
    output = run_here(tmp_path, "explore", "--data", small_data, "--no-verify", "--output", "samples.png")
    assert "(600, 28, 28) uint8" in output
    assert "(100, 28, 28) uint8" in output
    with Image.open(tmp_path / "samples.png") as image:
        assert min(image.size) > 200


def test_mistakes_get_one_clear_line(tmp_path: Path) -> None:
    for arguments, word in (
        (["fit", "nonesuch"], "default"),
        (["fit", "quick", "--recipe", "my.toml"], "not both"),
        (["fit", "--epochs", "0"], "at least 1"),
        (["fit", "--seed", "4294967296"], "whole number"),
        (["fit", "--data", "nowhere"], "--data or DIGITS_DATA"),
        (["evaluate", "9"], "models/digits/9"),
        (["evaluate", "first"], "whole number"),
        (["export", "nowhere.keras"], "nowhere.keras"),
        (["activate", "9"], "models/digits/9"),
        (["explore", "--data", "nowhere", "--output", "/proc/none/x.png"], "nowhere"),
        ([], "COMMAND"),
    ):
        output = run_here(tmp_path, *arguments, status=2)
        assert word in output.splitlines()[-1], arguments


def test_help_and_mistakes_import_no_heavy_library(tmp_path: Path) -> None:
    program = """
import contextlib, sys
from training.__main__ import main
for arguments in (["--help"], ["fit", "--help"], ["fit", "nonesuch"], ["evaluate", "9"], ["fit", "--recipe", "x.toml"]):
    with contextlib.suppress(SystemExit):
        assert main(arguments) == 2
heavy = {"keras", "tensorflow", "matplotlib", "openvino", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_written(small_data: Path, tmp_path: Path) -> None:
    arguments = ["explore", "--data", small_data, "--no-verify", "--output", "/proc/nowhere/x.png"]
    assert "/proc/nowhere" in run_here(tmp_path, *arguments, status=2).splitlines()[-1]


def test_no_data_and_no_network(tmp_path: Path, offline: None) -> None:
    output = run_here(tmp_path, "explore", status=2)
    assert "--data or DIGITS_DATA" in output.splitlines()[-1]
    assert "no route to host" in output


def test_the_manifest_is_plain_json(trained: Path) -> None:
    assert json.loads((trained / "models/digits/1/card.json").read_text())["format"] == FORMAT


def test_a_final_training_learns_all_and_is_measured_on_the_test_set(small_data: Path, tmp_path: Path) -> None:
    """In bfloat16, which trains another network than float32."""
    for precision in ("float32", "mixed_bfloat16"):
        arguments = ["fit", "dense-512", "--epochs", "1", "--final", "--precision", precision, "--run", precision]
        output = run_here(tmp_path, *arguments, "--data", small_data, "--no-verify")
        assert "test: " in output
        assert "validation" not in output
    digits = data.load(small_data, verify=False)
    manifests = [store.read_manifest(tmp_path / f"models/digits/{number}") for number in (1, 2)]
    for manifest, precision in zip(manifests, ("float32", "mixed_bfloat16"), strict=True):
        assert manifest.precision == precision
        assert manifest.data == {"train": digits.train.digest(), "test": digits.test.digest()}
        assert manifest.metrics["test"].images == 100
    assert manifests[0].files[store.KERAS] != manifests[1].files[store.KERAS]
