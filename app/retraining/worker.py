"""The process that works the jobs off: ``python -m app.retraining.worker``.

It trains in processes of its own, at low priority, and is killed or restarted at no loss: the job is in the
database, the training in its checkpoints, and a version appears whole or not at all.
"""

import contextlib
import dataclasses
import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from app import logs
from app.database import Database
from app.errors import DatabaseUnavailable, JobNotFound
from app.parent_death_signal import with_parent_death_signal
from app.registry import store
from app.retraining import prerequisites
from app.retraining.feedback import Feedback
from app.retraining.gate import Paired, Verdict, judge
from app.retraining.jobs import Jobs, JobStatus, Lease, LeaseLost
from app.retraining.progress import Progress
from app.settings import Settings, validation_message

HEARTBEAT_SECONDS = 0.5  # between signs of life, each of which also hears whether the job is called off
IDLE_SECONDS = 0.5  # between looks at an empty queue
ANNOUNCE_SECONDS = 5.0
TERMINATE_SECONDS = 0.5  # that a training has to end by itself
MIN_FREE_BYTES = 2**20  # bytes; a disk with less is full
MEASURING_STEP = 10**6  # the step after the last epoch, however many there are

_log = logging.getLogger("digits.worker")


class Refused(Exception):
    """Training says that it cannot do this; doing it again would not help. The text is its own."""


class Interrupted(Exception):
    """A training ended in a way that says nothing of the job, such as a signal."""


class Cancelled(Exception):
    """The job was called off."""


class Stopped(Exception):
    """The worker was told to stop."""


class Worker:
    """Takes one job after the other."""

    def __init__(self, settings: Settings, base: Database) -> None:
        self._settings = settings
        self._jobs = Jobs(base, settings.lease)
        self._feedback = Feedback(base)
        self._runs = settings.state / "runs"
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = threading.Event()
        self._announced = -ANNOUNCE_SECONDS
        self._recipes: list[str] = []

    def stop(self) -> None:
        """Let go of the job in hand and return from ``run``."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped. A database that is away is waited for."""
        problem = prerequisites.problem(self._settings)
        self._recipes = _recipes()
        store.tidy(self._settings.models)
        self._keep_trying(self._sweep)
        while not self._stopping.is_set():
            try:
                if time.monotonic() - self._announced >= ANNOUNCE_SECONDS:
                    problem = prerequisites.problem(self._settings)
                    self._announce(problem)
                lease = None if problem else self._jobs.claim()
            except DatabaseUnavailable:
                lease = None
            if lease is None:
                self._stopping.wait(IDLE_SECONDS)
            else:
                self._work(lease)

    def _announce(self, problem: str | None) -> None:
        self._jobs.announce(self._name, problem, self._recipes)
        self._announced = time.monotonic()

    def _work(self, lease: Lease) -> None:
        """One job from beginning, or where it was left, to its end."""
        number = lease.job.id
        _log.info("job taken", extra={"job": number, "attempt": lease.job.attempts})
        ending: Callable[[], None] | None = None
        try:
            ending = self._result(lease)
        except Stopped:
            ending = lambda: self._jobs.release(lease)  # noqa: E731
        except Cancelled:
            ending = lambda: self._jobs.finish(lease, JobStatus.CANCELLED)  # noqa: E731
        except (Refused, store.VersionError, OSError) as error:
            reason = self._told(error)
            _log.warning("job failed", extra={"job": number, "error": str(error)})
            # Before it is written down: where the disk is full, this makes room for that.
            shutil.rmtree(self._folder(number), ignore_errors=True)
            ending = lambda: self._jobs.finish(lease, JobStatus.FAILED, reason=reason)  # noqa: E731
        except Interrupted as error:
            reason = self._told(error)
            ending = lambda: self._jobs.interrupt(lease, reason)  # noqa: E731
        except LeaseLost as error:
            _log.warning(str(error))
        try:
            if ending:
                self._keep_trying(ending)
        except LeaseLost as error:  # also when the database had taken it in, but could not say so any more
            _log.warning(str(error))
        try:
            job = self._keep_trying(lambda: self._jobs.get(number))
        except JobNotFound:  # another database has come in place of the one that was away
            return
        _log.info("job left", extra={"job": number, "status": job.status, "reason": job.reason})
        if job.status.over:
            shutil.rmtree(self._folder(number), ignore_errors=True)

    def _result(self, lease: Lease) -> Callable[[], None]:
        """Train, measure, judge, publish. Returns what is to be written down."""
        published = self._find_published(lease)
        if published is not None:
            return self._publish(lease, published)
        folder, request = self._folder(lease.job.id), lease.job.request
        self._make_folder(folder, lease)
        self._heartbeat(lease, step=1)
        start = self._start(lease) if request.start == "current" else None
        archive = folder / "feedback.zip"
        if not archive.exists():  # a job learns from what was there when it began
            self._keep_trying(lambda: self._feedback.save_archive(archive))
        candidate = folder / "run" / "candidate"
        self._train(lease, self._fitting(lease, folder, start, archive))
        while True:
            current = store.current(self._settings.models)
            verdict = self._verdict(lease, candidate, current, archive)
            if store.current(self._settings.models) == current:
                break  # else somebody let another version serve meanwhile, and it is that one that must be beaten
        told = orjson.loads(orjson.dumps(verdict.as_dict()))  # as the database gives it back, to be compared with it
        if not verdict.publish:
            return lambda: self._jobs.finish(lease, JobStatus.REJECTED, reason=verdict.reason, verdict=told)
        manifest = dataclasses.replace(store.read_manifest(candidate), job=lease.job.id, verdict=told)
        (candidate / store.MANIFEST).write_text(manifest.to_json())
        # A worker that was thought dead must not publish what another has taken over. And if this one dies between
        # here and the end, the next knows the version by its verdict; judged again, it would be no better than itself.
        self._sign(lease, told)
        lease = dataclasses.replace(lease, job=dataclasses.replace(lease.job, verdict=told))
        return self._publish(lease, store.publish(candidate, self._settings.models))

    def _publish(self, lease: Lease, number: int) -> Callable[[], None]:
        """Let the version that this job has become serve."""
        store.activate(self._settings.models, number)
        verdict = lease.job.verdict or {}
        return lambda: self._jobs.finish(
            lease, JobStatus.PUBLISHED, reason=verdict["reason"], verdict=verdict, version=number
        )

    def _find_published(self, lease: Lease) -> int | None:
        """The version that this job has become in the hands of a worker that did not live to say so."""
        if lease.job.verdict and lease.job.verdict["publish"]:
            for number in store.numbers(self._settings.models):
                with contextlib.suppress(store.VersionError):
                    manifest = store.read_manifest(self._settings.models / str(number))
                    if (manifest.job, manifest.verdict) == (lease.job.id, lease.job.verdict):
                        return number
        return None

    def _make_folder(self, folder: Path, lease: Lease) -> None:
        """The job's folder, and nothing in it of a job that had this number in another database."""
        mark, text = folder / "created", repr(lease.job.created)
        if folder.exists() and not (mark.exists() and mark.read_text() == text):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(text)

    def _start(self, lease: Lease) -> Path:
        """The version to fine-tune: the one that served when the job began, also after an interruption."""
        number = lease.job.parent or store.current(self._settings.models)
        if self._keep_trying(lambda: self._jobs.heartbeat(lease, parent=number)):
            raise Cancelled
        return self._settings.models / str(number)

    def _fitting(self, lease: Lease, folder: Path, start: Path | None, archive: Path) -> list[str]:
        request = lease.job.request
        command = ["fit", "--stage", "--progress", "json", "--run", str(folder / "run"), "--feedback", str(archive)]
        command += ["--start", str(start)] if start else [request.recipe or "default"]
        for option, value in (
            ("--epochs", request.epochs),
            ("--images", request.images),
            ("--feedback-share", request.feedback_share),
        ):
            command += [option, str(value)] if value is not None else []
        return command

    def _verdict(self, lease: Lease, candidate: Path, current: int, archive: Path) -> Verdict:
        """Measure the candidate beside the version that serves now, and judge."""
        serving = self._settings.models / str(current)
        self._heartbeat(lease, event="measuring")
        output = self._train(lease, ["compare", str(candidate), str(serving), "--feedback", str(archive)])
        try:
            found = json.loads(output[-1])
            mnist, feedback = Paired(**found["mnist"]), Paired(**found["feedback"]) if found["feedback"] else None
        except (IndexError, ValueError, KeyError, TypeError):
            raise Refused("the comparison gave no figures; the log of the worker has what it said") from None
        metrics = store.read_manifest(serving).metrics
        known = next((metrics[split] for split in ("test", "validation") if split in metrics), None)
        return judge(mnist, feedback, (known.correct, known.images) if known else None, force=lease.job.request.force)

    def _train(self, lease: Lease, arguments: list[str]) -> list[str]:
        """Run a command of training to its end, renewing the lease meanwhile. Returns the lines of its output.

        Raises Refused, Interrupted, Cancelled, Stopped and LeaseLost; the process is gone then.
        """
        command = ["nice", "-n", "19", sys.executable, "-m", "training", *arguments]
        command += ["--data", str(self._settings.data)] if self._settings.data else []
        command += [] if self._settings.verify_data else ["--no-verify"]
        log = self._folder(lease.job.id) / "log"
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603  # our own command
                with_parent_death_signal(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | _capped(self._settings.training_threads),
                text=True,
                errors="replace",
                process_group=0,  # a new session would be scheduled on its own, and its low priority would not count
            )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
        reader.start()
        output: list[str] = []
        steps = 1 if arguments[0] == "fit" else MEASURING_STEP
        try:
            while process.poll() is None:
                self._follow(lease, lines, output, steps)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(HEARTBEAT_SECONDS)
            reader.join()
            self._follow(lease, lines, output, steps)
        finally:
            _end(process)
        # A training that cannot write its checkpoint has no room to say so either. Kept for another attempt, its files
        # would go on filling the disk that the database needs.
        if process.returncode and shutil.disk_usage(self._runs).free < MIN_FREE_BYTES:
            raise Refused("there is no room left on the disk of DIGITS_STATE")
        if process.returncode == 2:
            raise Refused(_last_line(log) or "training ended without a word")
        if process.returncode:
            told = _last_line(log)
            _log.warning("training broke off", extra={"job": lease.job.id, "status": process.returncode, "said": told})
            how = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
            raise Interrupted(f"training ended with {how}" + (f": {told}" if told else ""))
        return output

    def _follow(self, lease: Lease, lines: "queue.SimpleQueue[str]", output: list[str], steps: int) -> None:
        """Pass on what training has said since the last time, and hear what is wanted of it."""
        if self._stopping.is_set():
            raise Stopped
        progress = None
        while not lines.empty():
            line = lines.get()
            try:
                progress = Progress.from_json(line)
            except ValueError:
                output.append(line)
                continue
            if progress.epoch_ended:
                self._heartbeat(lease, progress=dataclasses.asdict(progress), step=steps + progress.epoch)
                progress = None
        self._heartbeat(lease, progress=dataclasses.asdict(progress) if progress else None, step=steps)

    def _heartbeat(self, lease: Lease, **told: Any) -> None:
        """Sign of life. A database that is away does not end a training: nobody else can take the job either."""
        try:
            if self._jobs.heartbeat(lease, **told):
                raise Cancelled
            if time.monotonic() - self._announced >= ANNOUNCE_SECONDS:
                self._announce(None)  # it does train
        except DatabaseUnavailable:
            return

    def _sign(self, lease: Lease, verdict: dict[str, Any]) -> None:
        """The same before something that cannot be taken back: now the database must answer."""
        if self._keep_trying(lambda: self._jobs.heartbeat(lease, verdict=verdict)):
            raise Cancelled

    def _keep_trying(self, call: Callable[[], Any]) -> Any:
        """The call's result, however long the database is away; Stopped when this worker is to stop meanwhile."""
        while True:
            try:
                return call()
            except DatabaseUnavailable:
                if self._stopping.wait(IDLE_SECONDS):
                    raise Stopped from None

    def _told(self, error: Exception) -> str:
        """What went wrong, for everybody to read: paths begin below the folders that the settings name."""
        text = str(error)
        if isinstance(error, OSError):
            text = (error.strerror or text).lower()
            text = f"{error.filename}: {text}" if error.filename else text
        for folder in (self._settings.models, self._settings.state, self._settings.data):
            text = text.replace(f"{folder}/", "") if folder else text
        return text.replace("\0", "").encode(errors="replace").decode()  # some databases take no others

    def _folder(self, number: int) -> Path:
        return self._runs / str(number)

    def _sweep(self) -> None:
        """Remove the folders of jobs that ended before theirs was removed."""
        found = list(self._runs.iterdir()) if self._runs.is_dir() else []
        unfinished = self._jobs.unfinished()  # asked after that: a folder may be that of a job that begins meanwhile
        for path in found:
            if path.name.isdecimal() and int(path.name) not in unfinished:
                shutil.rmtree(path, ignore_errors=True)


def _recipes() -> list[str]:
    """Names of the recipes that training here knows."""
    command = [sys.executable, "-m", "training", "recipes"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # our own command
    return listed.stdout.split()


def _capped(threads: int) -> dict[str, str]:
    """What keeps TensorFlow to so many threads."""
    return dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads))


def _read_lines(stream: Any, lines: "queue.SimpleQueue[str]") -> None:
    with stream:
        for line in stream:
            lines.put(line)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a training and whatever it started; it may be gone already."""
    for number, patience in ((signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGKILL, None)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("training: ") if lines else ""


def main() -> None:
    """Work off jobs until SIGTERM or SIGINT."""
    logs.configure()
    try:
        settings = Settings.from_environment()
        base = Database(settings.database())
    except ValidationError as error:  # whose own text repeats the values, and some are secrets
        _log.critical(validation_message(error))
        sys.exit(1)
    except DatabaseUnavailable as error:
        _log.critical(str(error))
        sys.exit(1)
    worker = Worker(settings, base)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    _log.info("worker ready")
    with contextlib.suppress(Stopped):
        worker.run()
    base.close()


if __name__ == "__main__":
    main()
