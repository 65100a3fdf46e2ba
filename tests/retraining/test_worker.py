"""The worker between the database and the versions, with a training that is only played."""

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.database import Database
from app.errors import DatabaseUnavailable
from app.registry import store
from app.retraining import worker
from app.retraining.jobs import Jobs, JobStatus, Lease, Request
from app.retraining.worker import Worker
from app.settings import Settings
from tests.support.versions import add, point, shipped

BETTER = {"images": 100, "candidate": 99, "current": 90, "only_candidate": 9, "only_current": 0}
EQUAL = {"images": 100, "candidate": 99, "current": 99, "only_candidate": 0, "only_current": 0}
NLL = {"candidate_nll": 0.1, "current_nll": 0.1}


class Killed(BaseException):
    """Ends a worker as SIGKILL does: nothing of its own comes after."""


class Played(Worker):
    """Its training makes a copy of the shipped version; it is better than any version but itself."""

    def __init__(self, settings: Settings, base: Database) -> None:
        super().__init__(settings, base)
        self.commands: list[list[str]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def _train(self, lease: Lease, arguments: list[str]) -> list[str]:
        self.commands.append(arguments)
        if arguments[0] == "fit":
            candidate = Path(arguments[arguments.index("--run") + 1], "candidate")
            shutil.copytree(self._settings.models / "1", candidate, dirs_exist_ok=True)
            manifest = store.read_manifest(candidate)
            (candidate / store.MANIFEST).write_text(dataclasses.replace(manifest, version=0).to_json())
            return []
        self.meanwhile()
        same = store.read_manifest(Path(arguments[2])).job == lease.job.id
        return [json.dumps({"mnist": (EQUAL if same else BETTER) | NLL, "feedback": None})]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models=shipped(tmp_path / "models"), state=tmp_path / "state", data=tmp_path / "data", lease=60)


@pytest.fixture
def jobs(base: Database) -> Jobs:
    return Jobs(base, 60)


@pytest.fixture
def played(settings: Settings, base: Database) -> Played:
    return Played(settings, base)


def take(jobs: Jobs, **wanted: object) -> Lease:
    jobs.submit(Request(**{"start": "scratch"} | wanted), {}, None, 10)  # type: ignore[arg-type]
    lease = jobs.claim()
    assert lease is not None
    return lease


def again(base: Database) -> Lease:
    """The lease of the worker that comes after one that is gone."""
    with base.writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease = 0")
    lease = Jobs(base, 60).claim()
    assert lease is not None
    return lease


def test_a_job(played: Played, jobs: Jobs, settings: Settings) -> None:
    lease = take(jobs)
    played._work(lease)
    job = jobs.get(lease.job.id)
    assert (job.status, job.version) == (JobStatus.PUBLISHED, 2)
    assert store.read_manifest(settings.models / "2").verdict == job.verdict
    assert store.current(settings.models) == 2
    assert not (settings.state / "runs" / "1").exists()


def test_a_worker_that_trains_for_long_is_known_to_be_able(
    played: Played, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ANNOUNCE_SECONDS", 0)
    lease = take(jobs)
    jobs.announce("another", "there is no training data")
    assert jobs.problem_of_workers()
    played._heartbeat(lease)
    assert jobs.problem_of_workers() is None


def test_the_folder_of_a_job_that_begins_meanwhile_is_not_swept_away(
    played: Played, jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.state / "runs" / "9").mkdir(parents=True)
    unfinished = played._jobs.unfinished

    def and_then_one_begins() -> set[int]:
        found = unfinished()
        (settings.state / "runs" / str(take(jobs).job.id)).mkdir()
        return found

    monkeypatch.setattr(played._jobs, "unfinished", and_then_one_begins)
    played._remove_old_folders()
    assert [path.name for path in (settings.state / "runs").iterdir()] == ["1"]


@pytest.mark.parametrize("after", ["publish", "activate"])
def test_killed_between_publishing_and_saying_so(
    played: Played, jobs: Jobs, base: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Judged again, the candidate would be compared with itself, and rejected though it serves."""
    lease, real = take(jobs), getattr(store, after)

    def killed(*arguments: object) -> None:
        real(*arguments)
        raise Killed

    monkeypatch.setattr(store, after, killed)
    with pytest.raises(Killed):
        played._work(lease)
    monkeypatch.setattr(store, after, real)
    if after == "activate":  # also on another machine, which has nothing of the run
        shutil.rmtree(settings.state)
    jobs.cancel(lease.job.id)  # too late
    played.commands.clear()
    played._work(again(base))
    job = jobs.get(lease.job.id)
    assert (job.status, job.version) == (JobStatus.PUBLISHED, 2)
    assert played.commands == []
    assert store.numbers(settings.models) == [1, 2]
    assert store.current(settings.models) == 2


def test_called_off_before_it_was_published_by_a_worker_that_is_gone(
    played: Played, jobs: Jobs, base: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, real = take(jobs), store.publish

    def killed(*arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(store, "publish", killed)
    with pytest.raises(Killed):
        played._work(lease)
    monkeypatch.setattr(store, "publish", real)
    with base.writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease = 0")
    assert jobs.cancel(lease.job.id).status is JobStatus.RUNNING
    played._work(again(base))
    assert jobs.get(lease.job.id).status is JobStatus.CANCELLED
    assert store.numbers(settings.models) == [1]


def test_another_version_that_serves_meanwhile_must_be_beaten_too(
    played: Played, jobs: Jobs, settings: Settings
) -> None:
    add(settings.models, 5)

    def activate() -> None:
        point(settings.models, "5\n")

    played.meanwhile = activate
    played._work(take(jobs))
    compared = [Path(command[2]).name for command in played.commands if command[0] == "compare"]
    assert compared == ["1", "5"]


def test_a_folder_of_a_job_in_another_database_is_not_gone_on_with(
    played: Played, jobs: Jobs, settings: Settings
) -> None:
    """With a new database numbers begin anew."""
    old = settings.state / "runs" / "1"
    old.mkdir(parents=True)
    (old / "feedback.zip").write_bytes(b"somebody else's")
    seen: list[bytes] = []
    played.meanwhile = lambda: seen.append((old / "feedback.zip").read_bytes())
    played._work(take(jobs))
    assert seen[0].startswith(b"PK")


def test_reasons_name_no_folders_of_this_machine(
    played: Played, jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, folder: Path) -> int:
        raise OSError(28, "No space left on device", str(folder / ".incoming-\udcff"))

    monkeypatch.setattr(store, "publish", full)
    lease = take(jobs)
    played._work(lease)
    job = jobs.get(lease.job.id)
    assert (job.status, job.reason) == (JobStatus.FAILED, ".incoming-?: no space left on device")
    monkeypatch.setattr(played, "_train", lambda *_: (_ for _ in ()).throw(worker.Refused(f"{settings.data}/x: \0bad")))
    lease = take(jobs)
    played._work(lease)
    assert jobs.get(lease.job.id).reason == "x: bad"


def test_what_failed_makes_room_before_it_is_written_down(
    played: Played, jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may be on the disk that the job has filled."""
    lease, finish = take(jobs), Jobs.finish

    def full(self: Jobs, *arguments: object, **told: object) -> None:
        if (settings.state / "runs" / "1").exists():
            raise DatabaseUnavailable("database or disk is full")
        finish(self, *arguments, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(Jobs, "finish", full)
    monkeypatch.setattr(played, "_train", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    played._work(lease)
    assert jobs.get(lease.job.id).status is JobStatus.FAILED


def test_a_training_that_ends_on_a_full_disk_is_not_tried_again(
    settings: Settings, base: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not even say why; its checkpoints are what fills the disk."""
    monkeypatch.setattr(
        worker, "with_parent_death_signal", lambda command: [sys.executable, "-c", "raise SystemExit(1)"]
    )
    lease = take(jobs)
    Worker(settings, base)._work(lease)
    assert jobs.get(lease.job.id).status is JobStatus.QUEUED
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    again = jobs.claim()
    assert again is not None
    Worker(settings, base)._work(again)
    job = jobs.get(lease.job.id)
    assert job.status is JobStatus.FAILED
    assert "is full" in (job.reason or "")
    assert not (settings.state / "runs" / "1").exists()


def test_what_the_database_took_in_without_saying_so_leaves_no_folder(
    played: Played, jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke after the commit: the second attempt finds that the job has ended."""
    lease, finish, broken = take(jobs), Jobs.finish, []

    def breaking(self: Jobs, *arguments: object, **told: object) -> None:
        finish(self, *arguments, **told)  # type: ignore[arg-type]
        if not broken:
            broken.append(True)
            raise DatabaseUnavailable("server closed the connection")

    monkeypatch.setattr(Jobs, "finish", breaking)
    played._work(lease)
    assert jobs.get(lease.job.id).status is JobStatus.PUBLISHED
    assert not (settings.state / "runs" / "1").exists()


def test_the_version_to_start_from_is_not_forgotten_while_the_database_is_away(
    played: Played, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run cannot be gone on with from another."""
    lease, heartbeat, away = take(jobs, start="current"), Jobs.heartbeat, []

    def breaking(self: Jobs, *arguments: object, **told: object) -> bool:
        if "parent" in told and not away:
            away.append(True)
            raise DatabaseUnavailable("away")
        return heartbeat(self, *arguments, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(Jobs, "heartbeat", breaking)
    played._work(lease)
    assert jobs.get(lease.job.id).parent == 1


def test_settings_that_are_wrong_are_told_without_their_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in os.environ if name.startswith("DIGITS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DIGITS_ADMIN_TOKEN", "secret")
    monkeypatch.setattr("app.logs.configure", lambda: None)
    with pytest.raises(SystemExit):
        worker.main()
    assert "DIGITS_ADMIN_TOKEN" in caplog.text
    assert "secret" not in caplog.text
