"""Another server of the same network, in a virtual environment of its own."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from app.registry import store
from benchmarks.processes import Server, free_port
from benchmarks.service import ROOT

SOURCES, CACHE = ROOT / "benchmarks" / "peers", ROOT / "runs" / "benchmarks"


@dataclass(frozen=True)
class Peer:
    """What is in the folder ``peers/<name>``.

    In ``command`` and ``settings``, {port} is where it must listen, {after} the next port, {second} and {third} are
    more free ports, and {scratch} is a folder for its files.

    Attributes:
        name: Of the folder.
        command: Its program is one of its virtual environment.
        packages: Those whose versions are printed.
        settings: Environment variables.
    """

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)

    def install(self) -> None:
        """Make its virtual environment, unless there is one with these requirements. Raises RuntimeError."""
        wanted, has = self._sources / "requirements.txt", self._cache / "requirements.txt"
        if has.exists() and has.read_bytes() == wanted.read_bytes():
            return
        print(f"installing {self.name} in {self._venv.relative_to(ROOT)}", flush=True)
        has.unlink(missing_ok=True)
        _run(sys.executable, "-m", "venv", "--clear", str(self._venv))
        _run(str(self._venv / "bin/pip"), "install", "--disable-pip-version-check", "--requirement", str(wanted))
        shutil.copy(wanted, has)  # last, so that an interrupted installation is repeated

    def versions(self) -> dict[str, str]:
        """The installed versions of its packages."""
        paths = [str(path) for path in self._venv.glob("lib/python*/site-packages")]
        found = {
            dist.name.lower().replace("_", "-"): dist.version for dist in importlib.metadata.distributions(path=paths)
        }
        return {name: found[name] for name in self.packages if name in found}

    def start(self, scratch: Path) -> Server:
        """Start it with its files in a temporary folder."""
        port = free_port()
        ports = {"port": port, "after": port + 1, "second": free_port(), "third": free_port()}
        program, *arguments = (word.format(**ports, scratch=scratch) for word in self.command)
        settings = {name: value.format(**ports, scratch=scratch) for name, value in self.settings.items()}
        models = ROOT / "models" / "digits"
        environment = {
            "PATH": f"{self._venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{self._sources}",  # for benchmarks.peers.network, and server.py
            "PYTHONDONTWRITEBYTECODE": "1",
            "NETWORK": str(models / str(store.current(models))),
            "HOME": str(scratch),  # some keep files there
        }
        return Server(
            [str(self._venv / "bin" / program), *arguments],
            dict(os.environ) | environment | settings,
            self._sources,
            port,
            scratch / "log",
        )

    @property
    def _sources(self) -> Path:
        return SOURCES / self.name

    @property
    def _cache(self) -> Path:
        return CACHE / self.name

    @property
    def _venv(self) -> Path:
        return self._cache / "venv"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(f"it cannot be installed: {lines[-1] if lines else command}")


_UVICORN = ("uvicorn", "server:app", "--port", "{port}", "--no-access-log", "--log-level", "warning")

PEERS = (
    Peer("tutorial", ("uvicorn", "server:app", "--port", "{port}"), ("fastapi", "keras", "tensorflow-cpu")),
    Peer("fastapi", (*_UVICORN, "--workers", str(len(os.sched_getaffinity(0)))), ("fastapi", "uvicorn", "openvino")),
    Peer("litserve", ("python", "server.py"), ("litserve", "openvino"), {"PORT": "{port}"}),
    Peer(
        "mlserver",
        ("mlserver", "start", "."),
        ("mlserver", "openvino"),
        {"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_GRPC_PORT": "{second}", "MLSERVER_METRICS_PORT": "{third}"},
    ),
    Peer(
        "bentoml",
        ("bentoml", "serve", "server:Digits", "--host", "127.0.0.1", "--port", "{port}"),
        ("bentoml", "openvino"),
        {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_CONFIG_OPTIONS": "tracing.excluded_urls=predict"},
    ),
    Peer(
        "ray",
        ("python", "server.py"),
        ("ray", "openvino"),
        {
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "{port}",
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "{after}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PROXY_PORT": "{second}",
            "SCRATCH": "{scratch}",
        },
    ),
)
