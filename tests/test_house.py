"""What may import what, in the tests too, and that serving needs nothing of training's."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.servers import environment, free_port

# Each package or module, and what it may import of ours: a package stands for all that is in it. Imports go one way,
# training -> app, and within app from the outside in. The first entry that fits a module counts.
MAY_IMPORT = {
    "app.__main__": ("app",),
    "app.main": ("app",),
    "app.server": ("app",),
    "app.reading": ("app",),
    "app.services": ("app",),
    "app.protocol": ("app.errors",),
    "app.metrics": ("app.inference",),
    "app.api": ("app.api", "app.services", "app.vision", "app.inference", "app.registry", "app.retraining",
                "app.settings", "app.errors", "app.metrics"),
    "app.retraining": ("app.retraining", "app.registry", "app.database", "app.tables", "app.settings", "app.logs",
                       "app.errors",
                       "app.parent_death_signal"),
    "app.migrations": ("app.tables",),
    "app.tables": (),
    "app.database": ("app.errors",),
    "app.vision": ("app.vision", "app.inference.rejection", "app.errors"),
    "app.inference.keras_file": ("app.registry", "app.settings", "app.errors"),
    "app.inference": ("app.inference", "app.registry", "app.errors"),
    "app.registry": ("app.registry",),
    "app.settings": ("app.resources",),
    "app.resources": (),
    "app.logs": (),
    "app.errors": (),
    "app.parent_death_signal": (),
    "app": (),
    "training": ("training", "app.registry", "app.vision", "app.inference", "app.retraining.progress",
                 "app.parent_death_signal", "app.errors"),
}  # fmt: skip


def imports(path: Path, *packages: str) -> Iterator[str]:
    """What a file imports from these packages, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in packages)


def is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def test_imports_go_one_way() -> None:
    wrong = []
    for path in (path for package in ("app", "training") for path in sorted((ROOT / package).rglob("*.py"))):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        allowed = next(allowed for package, allowed in MAY_IMPORT.items() if is_within(module, package))
        for name in imports(path, "app", "training"):
            if not any(is_within(name, one) for one in allowed):
                wrong.append(f"{module} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_helpers_are_imported_from_the_support_modules_alone() -> None:
    """A module that imports from a test or from a conftest depends on what others collect and when."""
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for imported in imports(path, "tests"):
            if any(part.startswith("test_") or part == "conftest" for part in imported.split(".")):
                wrong.append(f"{name} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_the_registry_needs_the_standard_library_alone() -> None:
    program = "import sys; import app.registry.store; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-IS", "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]; {program}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert not set(done.stdout.split()) - {*sys.stdlib_module_names, "app", "__main__"}


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
    (tmp_path / "app").symlink_to(ROOT / "app")  # and not training
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
