"""The images and the Compose file, as an operator uses them: the commands of docs/operations.md, run in a clone."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.documents import PAGES, blocks, commands, section
from tests.support.images import SEVEN
from tests.support.paths import ROOT
from tests.support.servers import AUTHORISED, TOKEN, free_port, is_ready
from tests.support.waiting import wait_for

pytestmark = pytest.mark.docker

BASE = re.findall(r"^FROM (\S+) AS base$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
OPERATIONS = PAGES["docs/operations.md"]
POSTGRES = "digits-test-postgres"
RESTRICTED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
RESTRICTED += ["--user", "10001", "--memory", "512m"]


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, as git has them, with both images built from them."""
    if not shutil.which("docker") or not docker("version", "--format", "{{.Server.Version}}", check=False):
        pytest.skip("no Docker engine answers here")
    if not docker("images", "--quiet", BASE) and docker("pull", "--quiet", BASE, check=False) == "":
        pytest.skip(f"the base image {BASE} is not here and cannot be pulled")
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    done = subprocess.run(["make", "image"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return folder


def start(volumes: list[str]) -> str:
    """A container of the service, restricted and ready."""
    name = f"digits-test-{uuid.uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, *RESTRICTED, *volumes, "--env", f"DIGITS_ADMIN_TOKEN={TOKEN}", "digits")
    with client_of(name) as client:
        await_ready(client)
    return name


def client_of(name: str) -> httpx.Client:
    """Straight to the container: through a published port, a connection to nobody would not be refused."""
    address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
    return httpx.Client(base_url=f"http://{address}:8000", headers=AUTHORISED, timeout=30)


def await_ready(client: httpx.Client) -> None:
    """Wait until the service takes requests."""
    wait_for(lambda: is_ready(client, str(client.base_url).rstrip("/")), "a service that is ready")


def await_success(client: httpx.Client, path: str) -> None:
    """Wait until a call succeeds, as those do that need the database."""
    wait_for(lambda: client.get(path, headers=AUTHORISED).is_success, path)


@pytest.fixture
def volumes(clone: Path) -> Iterator[list[str]]:
    """Options for two new volumes, which go with the test, as do all containers that use them."""
    names = [f"digits-test-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    yield [word for name, path in zip(names, ("models", "state"), strict=True) for word in ("-v", f"{name}:/{path}")]
    for name in names:
        for container in docker("ps", "--all", "--quiet", "--filter", f"volume={name}").split():
            docker("rm", "--force", "--volumes", container)
        docker("volume", "rm", name)


def test_what_is_in_the_images(clone: Path) -> None:
    serve, train, base = (json.loads(docker("inspect", name))[0] for name in ("digits", "digits-train", BASE))
    assert serve["Size"] - base["Size"] < 450e6
    project = (ROOT / "pyproject.toml").read_text()
    for image in (serve, train):
        assert image["Config"]["User"] == "10001:10001"
        labels = image["Config"]["Labels"]
        assert f'version = "{labels["org.opencontainers.image.version"]}"' in project
    assert serve["Config"]["Healthcheck"]
    look = """
import importlib.metadata, importlib.util, json, shutil
names = ("tensorflow", "keras", "matplotlib", "sklearn", "scipy", "httpx", "pip")
print(json.dumps([
    [name for name in names if (found := importlib.util.find_spec(name)) and "/opt/" in found.origin],
    [f"{d.name}=={d.version}" for d in importlib.metadata.distributions() if "/opt/" in str(d._path)],
    [name for name in ("cc", "gcc", "ld", "make") if shutil.which(name)],
]))
"""
    pinned = {canonical(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for image, modules in (("digits", []), ("digits-train", ["tensorflow", "keras", "matplotlib", "sklearn"])):
        found, packages, compilers = json.loads(docker("run", "--rm", image, "python", "-c", look))
        assert found == ([*modules, "scipy", "httpx"] if modules else [])
        assert {canonical(package) for package in packages} - pinned == {canonical("digits==0.1.0")}
        assert compilers == []


def canonical(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version}"


def test_a_restricted_container(volumes: list[str]) -> None:
    name = start(volumes)
    with client_of(name) as client:
        for image in (ROOT / "tests/images").iterdir():
            word = image.name.split(".")[0].split("-")[0]
            reply = client.post("/predict", files={"file": image.read_bytes()}).json()
            assert reply["accepted"] == (word != "several")
            if reply["accepted"]:
                assert reply["digit"] == {"two": 2, "three": 3, "five": 5, "seven": 7}[word]
        for media_type in ("BMP", "TIFF"):
            assert client.post("/predict", files={"file": converted(media_type)}).json()["digit"] == 7
        assert client.get("/docs").is_success
        assert client.get("/static-offline-docs/swagger-ui-bundle.js").is_success
        assert client.post("/feedback", files={"file": SEVEN}, data={"label": "7"}).status_code == 201
        assert client.get("/feedback/export").is_success
        assert client.get("/jobs").json() == {"jobs": []}
        assert client.post("/models/1/activate").is_success
    check = json.loads(docker("inspect", name))[0]["Config"]["Healthcheck"]["Test"][1:]
    docker("exec", name, *check)  # what the engine does every now and then


def converted(media_type: str) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(SEVEN)).convert("RGB").save(buffer, media_type)
    return buffer.getvalue()


def test_stop_under_load(volumes: list[str]) -> None:
    """Whoever is connected is answered; whoever comes then is refused."""
    name = start(volumes)
    failed: list[Exception] = []
    answered = []

    def send() -> None:
        with client_of(name) as client:
            while True:
                try:
                    answered.append(client.post("/predict", files={"file": SEVEN}).raise_for_status())
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    return
                except httpx.HTTPError as error:
                    failed.append(error)
                    return

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    wait_for(lambda: len(answered) > 100, "replies")
    began = time.monotonic()
    docker("stop", name)
    took = time.monotonic() - began
    for sender in senders:
        sender.join()
    assert answered
    assert not failed
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0", docker("logs", name)
    assert took < 10


def test_several_containers_begin_on_one_empty_volume(volumes: list[str]) -> None:
    names: list[str] = []
    starts = [threading.Thread(target=lambda: names.append(start(volumes))) for _ in range(3)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    assert len(names) == 3
    assert docker("exec", names[0], "ls", "-A", "/models").split() == ["1", "CURRENT"]


class Project:
    """The clone as a Compose project of its own, on a port of its own."""

    def __init__(self, folder: Path, data: Path, *overrides: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.name = f"digits-test-{uuid.uuid4().hex[:8]}"
        self._compose = "docker compose"
        if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
            if not shutil.which("docker-compose"):
                pytest.skip("docker compose is not installed here")
            self._compose = "docker-compose"
        files = ":".join(map(str, (folder / "docker-compose.yml", *overrides)))
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")} | {
            "COMPOSE": self._compose,
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": files,
            "DIGITS_PUBLISH": f"127.0.0.1:{self._port}",
            "DIGITS_DATA": str(data),
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30)

    def run(self, command: str) -> str:
        """One of the page's commands, as it stands but for the port."""
        line = command.replace("127.0.0.1:8000", f"127.0.0.1:{self._port}").replace("8000:8000", f"{free_port()}:8000")
        line = re.sub("^curl", "curl --fail --silent --show-error", line)
        if self._compose == "docker-compose":  # the older program, which has another name and cannot copy
            container = "$(docker-compose ps --quiet worker)"
            line = re.sub(r"^docker compose cp (\S+) worker:", rf"docker cp \1 {container}:", line)
            line = line.replace("docker compose", self._compose)
        settings = ". ./.env; export DIGITS_ADMIN_TOKEN; " if (self._folder / ".env").exists() else ""
        done = subprocess.run(
            ["bash", "-c", settings + line],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def remove(self) -> None:
        self.client.close()
        for profile in ("", "--profile postgres"):
            with contextlib.suppress(AssertionError):
                self.run(f"DIGITS_ADMIN_TOKEN=none docker compose {profile} down --volumes --timeout 3")
        (self._folder / ".env").unlink(missing_ok=True)


def part(title: str) -> list[str]:
    """The commands of the page's part under this title."""
    return commands(section(OPERATIONS, title))


def test_the_token_is_asked_for(clone: Path, small_data: Path) -> None:
    project = Project(clone, small_data)
    with pytest.raises(AssertionError, match="set it to a secret of 8 characters or more"):
        project.run("docker compose config")


def test_the_page_on_operations(clone: Path, small_data: Path) -> None:
    """Its commands in their order. Retraining takes minutes: `python -m benchmarks docker` has it."""
    project = Project(clone, small_data)
    try:
        for command in part("Docker Compose") + part("One container"):
            if "/retrain" in command or "/jobs/" in command:
                continue
            if command.startswith("docker ") and "compose" not in command:  # the container of its own
                command = re.sub(r"(--name|logs|exec|stop) digits", rf"\1 {project.name}", command)
                command = re.sub(r"digits-(models|state)", rf"{project.name}-\1", command)
                if " exec " in command:  # nobody types so soon after the start
                    wait_for(lambda: "token" in docker("exec", project.name, "ls", "/state"), "the token")
            if command.startswith("curl"):
                await_ready(project.client)
            project.run(command)
        assert project.client.get("/feedback", headers=token(clone)).json()["feedback"][0]["label"] == 2
        worker = project.run("docker compose ps --quiet worker").strip()
        assert "train-images-idx3-ubyte.gz" in docker("exec", worker, "ls", "/data")
        docker("exec", worker, "sh", "-c", "! touch /data/x && ! touch /x")

        backup, restore = part("Backup and restore")[:3], part("Backup and restore")[3:6]
        for command in backup:
            project.run(command)
        await_ready(project.client)
        reply = project.client.post("/feedback", files={"file": SEVEN}, data={"label": "7"}, headers=token(clone))
        assert reply.status_code == 201
        project.run("docker compose down")
        project.run("docker compose up --detach")
        await_ready(project.client)
        assert len(project.client.get("/feedback", headers=token(clone)).json()["feedback"]) == 2
        for command in restore:
            project.run(command)
        await_ready(project.client)
        assert len(project.client.get("/feedback", headers=token(clone)).json()["feedback"]) == 1

        for command in part("Upgrade and roll back"):
            project.run(command)
            await_ready(project.client)
        containers = docker("ps", "--filter", f"name={project.name}", "--format", "{{.Image}}").split()
        assert sorted(containers) == ["digits-train:before", "digits:before"]
    finally:
        project.remove()
        docker("rm", "--force", "--volumes", project.name, check=False)
        docker("volume", "rm", f"{project.name}-models", f"{project.name}-state", check=False)
        docker("rmi", "digits:before", "digits-train:before", check=False)


def token(folder: Path) -> dict[str, str]:
    secret = re.findall("DIGITS_ADMIN_TOKEN=(.*)", (folder / ".env").read_text())[0]
    return {"authorization": f"Bearer {secret}"}


def test_the_profile_postgres(clone: Path, small_data: Path, tmp_path: Path) -> None:
    """Jobs and corrections are there after all containers were made anew, and after a restored dump."""
    official = re.findall(r"image: (postgres:\S+)", (ROOT / "docker-compose.yml").read_text())[0]
    overrides = []
    if not docker("images", "--quiet", official) and not docker("pull", "--quiet", official, check=False):
        options = os.environ.get("BUILD_OPTIONS", "").split()
        docker(
            "build",
            *options,
            "--tag",
            POSTGRES,
            "--file",
            str(ROOT / "tests/docker/postgres.Dockerfile"),
            ROOT / "tests/docker",
        )
        overrides.append(tmp_path / "override.yml")
        overrides[0].write_text(f"services: {{postgres: {{image: {POSTGRES}}}}}\n")
    project = Project(clone, small_data, *overrides)
    (settings,) = blocks(OPERATIONS, "ini")
    (clone / ".env").write_text(f"DIGITS_ADMIN_TOKEN={TOKEN}\n{settings}")
    try:
        project.run("docker compose up --detach")
        await_ready(project.client)
        await_success(project.client, "/jobs")
        send = {"files": {"file": SEVEN}, "data": {"label": "7"}, "headers": AUTHORISED}
        assert project.client.post("/feedback", **send).status_code == 201
        dump, restore = part("Backup and restore")[6:]
        project.run(dump)
        project.run("docker compose down")
        project.run("docker compose up --detach")
        await_ready(project.client)
        await_success(project.client, "/feedback")
        assert len(project.client.get("/feedback", headers=AUTHORISED).json()["feedback"]) == 1
        empty = "'TRUNCATE feedback CASCADE'"
        project.run(f"docker compose exec -T postgres psql --username digits digits --command {empty}")
        assert project.client.get("/feedback", headers=AUTHORISED).json()["feedback"] == []
        project.run(restore)
        assert len(project.client.get("/feedback", headers=AUTHORISED).json()["feedback"]) == 1
        state = project.run("docker compose exec -T api ls /state").split()
        assert "digits.db" not in state
    finally:
        project.remove()
