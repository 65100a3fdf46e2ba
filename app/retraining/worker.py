"""The worker, a process that runs retraining jobs: ``digits worker``, or ``python -m app.retraining.worker``.

It starts each training as a process at low priority. It may be killed at any time without loss: jobs are in the
database, trainings have checkpoints, and a version is complete when it appears.
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

HEARTBEAT_SECONDS = 0.5  # interval of heartbeats, which also tell whether the job is to be cancelled
IDLE_SECONDS = 0.5  # interval of polls while the queue is empty
ANNOUNCE_SECONDS = 5.0
TERMINATE_SECONDS = 0.5  # time that a training has to end after SIGTERM
MIN_FREE_BYTES = 2**20  # a disk with less free space counts as full
MEASURING_STEP = 10**6  # number of the step after the last epoch, higher than any number of epochs

_log = logging.getLogger("digits.worker")


class Refused(Exception):
    """Training cannot do this job, and another attempt would not help. The text is training's."""


class Interrupted(Exception):
    """A training ended for a reason that is not the job's, such as a signal."""


class Cancelled(Exception):
    """The job is to be cancelled."""


class Stopped(Exception):
    """The worker is stopping."""


class Worker:
    """Runs one job after the other."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Use the settings and a database."""
        self._settings = settings
        self._jobs = Jobs(database, settings.lease)
        self._feedback = Feedback(database)
        self._runs = settings.state / "runs"
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = threading.Event()
        self._announced_at = -ANNOUNCE_SECONDS
        self._recipes: list[str] = []

    def stop(self) -> None:
        """Put the job back in the queue, if any, and return from ``run``."""
        self._stopping.set()

    def run(self) -> None:
        """Run jobs until ``stop`` is called. During an outage of the database, wait."""
        problem = prerequisites.problem(self._settings)
        self._recipes = _recipes()
        store.tidy(self._settings.models)
        self._retry(self._remove_old_folders)
        while not self._stopping.is_set():
            try:
                if time.monotonic() - self._announced_at >= ANNOUNCE_SECONDS:
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
        self._announced_at = time.monotonic()

    def _work(self, lease: Lease) -> None:
        """Run one job from its start, or from where the last attempt left it, to its end."""
        number = lease.job.id
        _log.info("job taken", extra={"job": number, "attempt": lease.job.attempts})
        record_result: Callable[[], None] | None = None
        try:
            record_result = self._train_and_publish(lease)
        except Stopped:
            record_result = lambda: self._jobs.release(lease)  # noqa: E731
        except Cancelled:
            record_result = lambda: self._jobs.finish(lease, JobStatus.CANCELLED)  # noqa: E731
        except (Refused, store.VersionError, OSError) as error:
            reason = self._error_text(error)
            _log.warning("job failed", extra={"job": number, "error": str(error)})
            # Before the result is recorded: if the disk is full, this makes room for it.
            shutil.rmtree(self._folder(number), ignore_errors=True)
            record_result = lambda: self._jobs.finish(lease, JobStatus.FAILED, reason=reason)  # noqa: E731
        except Interrupted as error:
            reason = self._error_text(error)
            record_result = lambda: self._jobs.interrupt(lease, reason)  # noqa: E731
        except LeaseLost as error:
            _log.warning(str(error))
        try:
            if record_result:
                self._retry(record_result)
        except LeaseLost as error:  # also if the database recorded the result, but its reply was lost
            _log.warning(str(error))
        try:
            job = self._retry(lambda: self._jobs.get(number))
        except JobNotFound:  # after an outage there is another database
            return
        _log.info("job released", extra={"job": number, "status": job.status, "reason": job.reason})
        if job.status.is_over:
            shutil.rmtree(self._folder(number), ignore_errors=True)

    def _train_and_publish(self, lease: Lease) -> Callable[[], None]:
        """Train a candidate, compare it with the current version, and publish it if the gate accepts it.

        Returns:
            The call that records the result.
        """
        published = self._find_published(lease)
        if published is not None:
            return self._publish(lease, published)
        folder, request = self._folder(lease.job.id), lease.job.request
        self._prepare_folder(folder, lease)
        self._heartbeat(lease, step=1)
        parent = self._parent(lease) if request.start == "current" else None
        archive = folder / "feedback.zip"
        if not archive.exists():  # all attempts of a job learn from the same feedback
            self._retry(lambda: self._feedback.save_archive(archive))
        candidate = folder / "run" / "candidate"
        self._train(lease, self._fit_command(lease, folder, parent, archive))
        while True:
            current = store.current(self._settings.models)
            verdict = self._compare(lease, candidate, current, archive)
            if store.current(self._settings.models) == current:
                break  # otherwise another version serves now, and the candidate must be better than that one
        verdict_json = orjson.loads(orjson.dumps(verdict.as_dict()))  # equal to what the database returns
        if not verdict.publish:
            return lambda: self._jobs.finish(lease, JobStatus.REJECTED, reason=verdict.reason, verdict=verdict_json)
        manifest = dataclasses.replace(store.read_manifest(candidate), job=lease.job.id, verdict=verdict_json)
        (candidate / store.MANIFEST).write_text(manifest.to_json())
        # Recorded first, for two reasons. A worker that lost its lease must not publish. And if this one is killed
        # after it has published, the next one finds the version by its verdict; a second comparison would reject it.
        self._record_verdict(lease, verdict_json)
        lease = dataclasses.replace(lease, job=dataclasses.replace(lease.job, verdict=verdict_json))
        return self._publish(lease, store.publish(candidate, self._settings.models))

    def _publish(self, lease: Lease, number: int) -> Callable[[], None]:
        """Make the job's version the one that serves."""
        store.activate(self._settings.models, number)
        verdict = lease.job.verdict or {}
        return lambda: self._jobs.finish(
            lease, JobStatus.PUBLISHED, reason=verdict["reason"], verdict=verdict, version=number
        )

    def _find_published(self, lease: Lease) -> int | None:
        """Return the version that an earlier worker published for this job before it was killed, if any."""
        if lease.job.verdict and lease.job.verdict["publish"]:
            for number in store.numbers(self._settings.models):
                with contextlib.suppress(store.VersionError):
                    manifest = store.read_manifest(self._settings.models / str(number))
                    if (manifest.job, manifest.verdict) == (lease.job.id, lease.job.verdict):
                        return number
        return None

    def _prepare_folder(self, folder: Path, lease: Lease) -> None:
        """Create the job's folder. Remove one of a job that had the same number in another database."""
        marker, created = folder / "created", repr(lease.job.created)
        if folder.exists() and not (marker.exists() and marker.read_text() == created):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(created)

    def _parent(self, lease: Lease) -> Path:
        """Return the version to fine-tune: the one that served at the job's first attempt."""
        number = lease.job.parent or store.current(self._settings.models)
        if self._retry(lambda: self._jobs.heartbeat(lease, parent=number)):
            raise Cancelled
        return self._settings.models / str(number)

    def _fit_command(self, lease: Lease, folder: Path, parent: Path | None, archive: Path) -> list[str]:
        request = lease.job.request
        command = ["fit", "--stage", "--progress", "json", "--run", str(folder / "run"), "--feedback", str(archive)]
        command += ["--start", str(parent)] if parent else [request.recipe or "default"]
        for option, value in (
            ("--epochs", request.epochs),
            ("--images", request.images),
            ("--feedback-share", request.feedback_share),
        ):
            command += [option, str(value)] if value is not None else []
        return command

    def _compare(self, lease: Lease, candidate: Path, current: int, archive: Path) -> Verdict:
        """Compare the candidate with the current version, and return the gate's verdict."""
        serving = self._settings.models / str(current)
        self._heartbeat(lease, event="measuring")
        output = self._train(lease, ["compare", str(candidate), str(serving), "--feedback", str(archive)])
        try:
            figures = json.loads(output[-1])
            mnist, feedback = Paired(**figures["mnist"]), Paired(**figures["feedback"]) if figures["feedback"] else None
        except (IndexError, ValueError, KeyError, TypeError):
            raise Refused("the comparison printed no figures") from None
        by_split = store.read_manifest(serving).metrics
        metrics = next((by_split[split] for split in ("test", "validation") if split in by_split), None)
        reported = (metrics.correct, metrics.images) if metrics else None
        return judge(mnist, feedback, reported, force=lease.job.request.force)

    def _train(self, lease: Lease, arguments: list[str]) -> list[str]:
        """Run a command of ``python -m training`` to its end, and renew the lease meanwhile.

        Args:
            lease: The worker's lease.
            arguments: The command with its arguments.

        Returns:
            The lines of its output, without those with progress.

        Raises:
            Refused, Interrupted, Cancelled, Stopped, LeaseLost: The process has ended in each case.
        """
        command = ["nice", "-n", "19", sys.executable, "-m", "training", *arguments]
        command += ["--data", str(self._settings.data)] if self._settings.data else []
        command += [] if self._settings.verify_data else ["--no-verify"]
        log = self._folder(lease.job.id) / "log"
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603  # the command is fixed
                with_parent_death_signal(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | _thread_limits(self._settings.training_threads),
                text=True,
                errors="replace",
                process_group=0,  # in a session of its own, Linux would ignore "nice"
            )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
        reader.start()
        output: list[str] = []
        steps = 1 if arguments[0] == "fit" else MEASURING_STEP
        try:
            while process.poll() is None:
                self._record_progress(lease, lines, output, steps)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(HEARTBEAT_SECONDS)
            reader.join()
            self._record_progress(lease, lines, output, steps)
        finally:
            _terminate(process)
        # A training that cannot write a checkpoint may be unable to write its error, too. The job fails, so that its
        # files are removed: the database needs the disk.
        if process.returncode and shutil.disk_usage(self._runs).free < MIN_FREE_BYTES:
            raise Refused("the disk of DIGITS_STATE is full; free some space")
        if process.returncode == 2:
            raise Refused(_last_line(log) or "training ended without a message")
        if process.returncode:
            message = _last_line(log)
            extra = {"job": lease.job.id, "status": process.returncode, "training_message": message}
            _log.warning("training was interrupted", extra=extra)
            status = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
            raise Interrupted(f"training ended with {status}" + (f": {message}" if message else ""))
        return output

    def _record_progress(self, lease: Lease, lines: "queue.SimpleQueue[str]", output: list[str], steps: int) -> None:
        """Record the progress in new lines of output, and check whether to stop or cancel.

        Args:
            lease: The worker's lease.
            lines: The new lines.
            output: Other lines are appended to it.
            steps: Number of the job's steps before the first epoch.
        """
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

    def _heartbeat(self, lease: Lease, **values: Any) -> None:
        """Renew the lease. During an outage of the database the training goes on: no other worker can take the job."""
        try:
            if self._jobs.heartbeat(lease, **values):
                raise Cancelled
            if time.monotonic() - self._announced_at >= ANNOUNCE_SECONDS:
                self._announce(None)  # a worker with a job can train
        except DatabaseUnavailable:
            return

    def _record_verdict(self, lease: Lease, verdict: dict[str, Any]) -> None:
        """Record the verdict. During an outage of the database, wait: publishing cannot be undone."""
        if self._retry(lambda: self._jobs.heartbeat(lease, verdict=verdict)):
            raise Cancelled

    def _retry(self, call: Callable[[], Any]) -> Any:
        """Repeat a call until the database answers, and return its result. Raise Stopped if ``stop`` is called."""
        while True:
            try:
                return call()
            except DatabaseUnavailable:
                if self._stopping.wait(IDLE_SECONDS):
                    raise Stopped from None

    def _error_text(self, error: Exception) -> str:
        """Return an error's text for users. Paths are relative to the folders in the settings."""
        text = str(error)
        if isinstance(error, OSError):
            text = (error.strerror or text).lower()
            text = f"{error.filename}: {text}" if error.filename else text
        for folder in (self._settings.models, self._settings.state, self._settings.data):
            text = text.replace(f"{folder}/", "") if folder else text
        return text.replace("\0", "").encode(errors="replace").decode()  # PostgreSQL does not accept others

    def _folder(self, number: int) -> Path:
        return self._runs / str(number)

    def _remove_old_folders(self) -> None:
        """Remove folders of jobs that have ended, which a worker that was killed has left."""
        folders = list(self._runs.iterdir()) if self._runs.is_dir() else []
        unfinished = self._jobs.unfinished()  # read after the folders, since another worker may start a job meanwhile
        for path in folders:
            if path.name.isdecimal() and int(path.name) not in unfinished:
                shutil.rmtree(path, ignore_errors=True)


def _recipes() -> list[str]:
    """Return the names of the recipes that training has on this machine."""
    command = [sys.executable, "-m", "training", "recipes"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # the command is fixed
    return done.stdout.split()


def _thread_limits(threads: int) -> dict[str, str]:
    """Return the environment variables that limit TensorFlow's threads."""
    return dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads))


def _read_lines(stream: Any, lines: "queue.SimpleQueue[str]") -> None:
    with stream:
        for line in stream:
            lines.put(line)


def _terminate(process: "subprocess.Popen[str]") -> None:
    """End a training and all processes that it started, unless it has ended already."""
    for number, timeout in ((signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGKILL, None)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("training: ") if lines else ""


def main() -> None:
    """Run jobs until SIGTERM or SIGINT."""
    logs.configure()
    try:
        settings = Settings.from_environment()
        database = Database(settings.database())
    except ValidationError as error:  # its own text repeats the values, and some are secrets
        _log.critical(validation_message(error))
        sys.exit(1)
    except DatabaseUnavailable as error:
        _log.critical(str(error))
        sys.exit(1)
    worker = Worker(settings, database)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    _log.info("the worker is ready")
    with contextlib.suppress(Stopped):
        worker.run()
    database.close()


if __name__ == "__main__":
    main()
