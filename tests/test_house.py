"""What may import what, and that serving needs nothing of training's."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment, free_port

# What the service shares with training.
STANDARD_ONLY = {
    *("training.card", "training.versions", "training.progress", "training.recipes", "training.tether"),
    "training.errors",
}

# Each layer and those below it; arrows point down only.
MAY_IMPORT = {
    "app.__main__": {"app", "training"},
    "app.main": {"app", "training"},
    "app.services": {"app"},
    "app.protocol": {"app.errors"},
    "app.logs": set(),
    "app.metrics": {"app.api.declining"},
    "app.api": {
        *("app.api", "app.services", "app.vision", "app.inference", "app.retraining", "app.settings", "app.errors"),
        *("app.metrics", "training"),
    },
    "app.retraining.worker": {"app.retraining", "app.database", "app.settings", "app.logs", "app.errors", "training"},
    "app.retraining": {"app.retraining", "app.database", "app.settings", "app.errors", "training"},
    "app.migrations": {"app.database"},
    "app.database": {"app.errors"},
    "app.vision": {"app.vision", "app.errors"},
    "app.inference": {"app.inference", "app.errors", "training"},
    "app.settings": {"app.resources"},
    "app.resources": set(),
    "app.errors": set(),
    "training.drawing": {"app.vision", "training"},  # to lay digits where the service would
    "training": {"training"},
}


def modules() -> list[tuple[str, Path]]:
    found = [path for package in ("app", "training") for path in (ROOT / package).rglob("*.py")]
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in found]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize(("module", "path"), modules())
def test_arrows_point_down(module: str, path: Path) -> None:
    layer = next((layer for layer in MAY_IMPORT if f"{module}.".startswith(f"{layer}.")), None)
    if layer is None:
        assert module == "app.__init__"
        return
    for name in imported(path):
        top = name.partition(".")[0]
        if top in ("app", "training") and name not in ("app", "training"):
            assert any(f"{name}.".startswith(f"{below}.") for below in MAY_IMPORT[layer]), f"{module} imports {name}"
        if top == "training" and module.startswith("app."):
            assert name == "training" or any(name.startswith(shared) for shared in STANDARD_ONLY), name


@pytest.mark.parametrize("module", sorted(STANDARD_ONLY))
def test_what_the_service_shares_with_training_is_standard_library_only(module: str) -> None:
    for name in imported(ROOT / (module.replace(".", "/") + ".py")):
        assert name.partition(".")[0] in {*sys.stdlib_module_names, "training"}


def serving_requirements() -> set[str]:
    """All distributions that an installation without extras brings, by following what each requires."""
    from packaging.requirements import Requirement

    found: set[str] = set()

    def follow(name: str, extras: set[str]) -> None:
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                key = re.sub(r"[-_.]+", "-", requirement.name).lower()
                if key not in found:
                    found.add(key)
                    follow(requirement.name, set(requirement.extras))

    follow("digits", set())
    return found


def test_a_serving_installation_brings_no_training_libraries() -> None:
    brought = serving_requirements()
    assert "openvino" in brought
    assert not brought & {"tensorflow", "tensorflow-cpu", "keras", "matplotlib", "scikit-learn", "httpx", "scipy"}


def test_the_service_runs_on_a_serving_installation(tmp_path: Path) -> None:
    """A folder with links to just those packages and nothing else on the path: start, and read a digit."""
    for name in serving_requirements():
        for file in importlib.metadata.files(name) or []:
            top, source = file.parts[0], Path(str(file.locate()))
            if top != ".." and not (tmp_path / top).is_symlink() and top != "__pycache__":
                (tmp_path / top).symlink_to(Path(str(source)[: -len(str(file))]) / top)
    for package in ("app", "training"):
        (tmp_path / package).symlink_to(ROOT / package)
    about = next(Path(sysconfig.get_path("purelib")).glob("digits-*.dist-info"))
    (tmp_path / about.name).symlink_to(about)
    program = """
import json, sys, threading, time, urllib.request
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [sys.argv[1]]
import uvicorn
from app.main import create_app

server = uvicorn.Server(uvicorn.Config(create_app(), port=int(sys.argv[3]), log_config=None))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    time.sleep(0.01)
image = open(sys.argv[2], "rb").read()
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[3]}/predict", image, {"content-type": "image/png"})
print(json.load(urllib.request.urlopen(request))["digit"])
server.should_exit = True
thread.join()
for name in ("tensorflow", "keras", "matplotlib", "sklearn", "httpx", "scipy"):
    assert name not in sys.modules, name
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name + " can be imported")
"""
    arguments = [sys.executable, "-I", "-c", program, str(tmp_path), str(ROOT / "tests/images/seven.png")]
    arguments.append(str(free_port()))
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "7"
