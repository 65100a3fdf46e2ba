"""Retraining jobs: what was asked, how far it is, and what became of it."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import sqlalchemy as sa

from app import tables
from app.database import Database
from app.errors import IdempotencyKeyReused, JobNotFound, JobOver, QueueFull

# A job is taken this many times without a step forward before it counts as failed: once, and twice again.
MAX_ATTEMPTS = 3

WORKER_TIMEOUT_SECONDS = 30.0  # a worker that was not seen for longer says nothing about what can be trained

MAX_EVENTS_PER_READ = 1000  # that are read at a time; a long training has tens of thousands

jobs, events, workers = tables.jobs, tables.events, tables.workers


class JobStatus(StrEnum):
    """Where a job is; the legal moves stand in MOVES."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker trains, measures or publishes
    PUBLISHED = "published"  # the candidate became a version and serves
    REJECTED = "rejected"  # the candidate was not better; nothing changed, the verdict has the figures
    FAILED = "failed"  # it could not be done; the reason says why
    CANCELLED = "cancelled"  # somebody called it off

    @property
    def over(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS = {
    JobStatus.QUEUED: {JobStatus.RUNNING, JobStatus.CANCELLED},
    JobStatus.RUNNING: {
        JobStatus.QUEUED,  # its worker was told to stop, or is gone
        JobStatus.PUBLISHED,
        JobStatus.REJECTED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    },
    JobStatus.PUBLISHED: set(),
    JobStatus.REJECTED: set(),
    JobStatus.FAILED: set(),
    JobStatus.CANCELLED: set(),
}


@dataclass(frozen=True)
class Request:
    """What was asked for. None leaves a choice to training.

    start: ``current`` fine-tunes the version that serves, ``scratch`` trains a new network by ``recipe``.
    images: the most MNIST images to learn from. feedback_share: part of what is learned that is feedback.
    force: publish whatever the gate says.
    """

    start: Literal["current", "scratch"]
    recipe: str | None = None
    epochs: int | None = None
    images: int | None = None
    feedback_share: float | None = None
    force: bool = False


@dataclass(frozen=True)
class Job:
    """One retraining. Times are seconds since 1970, UTC. parent: the version that served when it began."""

    id: int
    status: JobStatus
    request: Request
    created: float
    started: float | None
    finished: float | None
    attempts: int
    cancel_requested: bool
    progress: dict[str, Any] | None
    verdict: dict[str, Any] | None
    parent: int | None
    version: int | None
    reason: str | None


@dataclass(frozen=True)
class Lease:
    """A job in the hands of one worker. Only the holder of the newest token may change it."""

    job: Job
    token: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; ids rise."""

    id: int
    kind: str
    data: dict[str, Any]
    created: float


class LeaseLost(Exception):
    """The job was given to another worker, or has ended; this one must let go of it."""


class Jobs:
    """The jobs in a database, for the service that takes requests and for the workers.

    lease: seconds that a worker may be silent before its job is given to another.
    """

    def __init__(self, base: Database, lease: float) -> None:
        self._base, self._lease = base, lease

    # The service's side.

    def submit(self, request: Request, asked: dict[str, Any], key: str | None, most_waiting: int) -> Job:
        """A new job at the end of the queue, or the one that was made for the same key before.

        asked: the request as it came, before anything was chosen for it.
        Raises IdempotencyKeyReused when that one asked for something else, QueueFull, DatabaseUnavailable.
        """
        with self._base.writing() as connection:
            if key is not None and (known := _of_key(connection, key, asked)):
                return known
            waiting = connection.execute(
                sa.select(sa.func.count()).where(jobs.c.status == JobStatus.QUEUED)
            ).scalar_one()
            if waiting >= most_waiting:
                raise QueueFull(f"{waiting} jobs wait already; try again when one has ended, or cancel one")
            row = connection.execute(
                sa.insert(jobs)
                .values(
                    status=JobStatus.QUEUED,
                    asked=asked,
                    request=asdict(request),
                    idempotency_key=key,
                    created=self._base.now(connection),
                    steps=0,
                    attempts=0,
                    cancel_requested=False,
                )
                .returning(jobs)
            ).one()
            self._tell(connection, row.id, "queued", {})
            return _job(row)

    def find_by_key(self, key: str, asked: dict[str, Any]) -> Job | None:
        """The job that was made for this key before. Raises IdempotencyKeyReused, DatabaseUnavailable."""
        with self._base.reading() as connection:
            return _of_key(connection, key, asked)

    def get(self, number: int) -> Job:
        """Raises JobNotFound, DatabaseUnavailable."""
        with self._base.reading() as connection:
            return _job(_row(connection, number))

    def newest(self, limit: int, before: int | None) -> list[Job]:
        """At most ``limit`` jobs, newest first; ``before``: only those with lower numbers."""
        query = sa.select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with self._base.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def cancel(self, number: int) -> Job:
        """Call a job off: one that waits at once, one that runs as soon as its worker hears of it.

        Raises JobNotFound, JobOver, DatabaseUnavailable.
        """
        with self._base.writing() as connection:
            row = _row(connection, number)
            status = JobStatus(row.status)
            if status.over:
                raise JobOver(f"job {number} has ended: {status}")
            nobody_has_it = status is JobStatus.QUEUED or row.lease < self._base.now(connection)
            if nobody_has_it and not _may_be_published(row):
                self._move(connection, row, JobStatus.CANCELLED)
            else:
                connection.execute(sa.update(jobs).where(jobs.c.id == number).values(cancel_requested=True))
            return _job(_row(connection, number))

    def events_after(self, number: int, last: int) -> tuple[list[Event], bool]:
        """The first MOST_EVENTS of a job's events with higher ids than ``last``, and whether there will be no more.

        Raises JobNotFound, DatabaseUnavailable.
        """
        with self._base.reading() as connection:
            over = JobStatus(_row(connection, number).status).over
            found = connection.execute(
                sa.select(events)
                .where(events.c.job == number, events.c.id > last)
                .order_by(events.c.id)
                .limit(MAX_EVENTS_PER_READ)
            )
            told = [Event(row.id, row.kind, row.data, row.created) for row in found]
            return told, over and len(told) < MAX_EVENTS_PER_READ

    def newest_event(self) -> int:
        """The id of the newest event of any job; 0 where there is none. Raises DatabaseUnavailable."""
        with self._base.reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0)

    def problem_of_workers(self) -> str | None:
        """Why no worker can train, where all that were seen lately say so."""
        with self._base.reading() as connection:
            lately = self._base.now(connection) - WORKER_TIMEOUT_SECONDS
            problems = connection.execute(sa.select(workers.c.problem).where(workers.c.seen > lately)).scalars().all()
        return problems[0] if problems and all(problems) else None

    def recipes_of_workers(self) -> list[str]:
        """Names of the recipes that workers seen lately know; empty while none has announced any."""
        with self._base.reading() as connection:
            lately = self._base.now(connection) - WORKER_TIMEOUT_SECONDS
            known = connection.execute(sa.select(workers.c.recipes).where(workers.c.seen > lately)).scalars()
            return list(dict.fromkeys(name for recipes in known for name in recipes or []))

    # The worker's side.

    def announce(self, name: str, problem: str | None, recipes: Sequence[str] = ()) -> None:
        """Leave word that this worker lives, why it cannot train if it cannot, and which recipes it knows."""
        with self._base.writing() as connection:
            now = self._base.now(connection)
            said = {"seen": now, "problem": problem, "recipes": list(recipes)}
            connection.execute(
                self._base.insert(workers)
                .values(name=name, **said)
                .on_conflict_do_update(index_elements=[workers.c.name], set_=said)
            )
            connection.execute(sa.delete(workers).where(workers.c.seen < now - 24 * 3600))

    def claim(self) -> Lease | None:
        """The next job for this worker: one that another left behind, else the one that has waited longest.

        None while a job runs anywhere, since they run one at a time, and when none waits.
        """
        with self._base.writing() as connection:
            now = self._base.now(connection)
            for running in connection.execute(sa.select(jobs).where(jobs.c.status == JobStatus.RUNNING)).all():
                if running.lease > now:
                    return None
                self._recover(connection, running)
            row = connection.execute(
                sa.select(jobs).where(jobs.c.status == JobStatus.QUEUED).order_by(jobs.c.id).limit(1)
            ).one_or_none()
            if row is None:
                return None
            token = uuid.uuid4().hex
            self._move(
                connection,
                row,
                JobStatus.RUNNING,
                {"attempt": row.attempts + 1},
                claim=token,
                lease=now + self._lease,
                attempts=row.attempts + 1,
                started=row.started or now,
            )
            return Lease(_job(_row(connection, row.id)), token)

    def heartbeat(
        self,
        lease: Lease,
        *,
        progress: dict[str, Any] | None = None,
        step: int | None = None,
        parent: int | None = None,
        verdict: dict[str, Any] | None = None,
        event: str | None = None,
    ) -> bool:
        """Renew the lease and write down how far the job is. True when it is to be cancelled.

        event: something else to tell those who follow. step: number of epochs and phases that are done.
        verdict: written down before anything is published, unless the job is to be cancelled.
        Raises LeaseLost, DatabaseUnavailable.
        """
        with self._base.writing() as connection:
            row = self._held(connection, lease)
            values: dict[str, Any] = {"lease": self._base.now(connection) + self._lease}
            if progress is not None and progress != row.progress:
                values["progress"] = progress
                self._tell(connection, row.id, "progress", progress)
            if event is not None:
                self._tell(connection, row.id, event, {})
            if step is not None and step > row.steps:
                values |= {"steps": step, "attempts": 1}
            if parent is not None:
                values["parent"] = parent
            if verdict is not None and not row.cancel_requested:
                values["verdict"] = verdict
            connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(values))
            return bool(row.cancel_requested)

    def release(self, lease: Lease) -> None:
        """Put the job back to the head of the queue, by a worker that was told to stop; no attempt is counted.

        It has published nothing.
        """
        with self._base.writing() as connection:
            row = self._held(connection, lease)
            if row.cancel_requested:
                self._move(connection, row, JobStatus.CANCELLED, verdict=None)
            else:
                back = {"claim": None, "lease": None, "verdict": None, "attempts": row.attempts - 1}
                self._move(connection, row, JobStatus.QUEUED, **back)

    def interrupt(self, lease: Lease, reason: str) -> None:
        """Queue the job again after an accident, or let it fail when there were too many. Raises LeaseLost."""
        with self._base.writing() as connection:
            self._again(connection, self._held(connection, lease), reason)

    def finish(
        self,
        lease: Lease,
        status: JobStatus,
        *,
        reason: str | None = None,
        verdict: dict[str, Any] | None = None,
        version: int | None = None,
    ) -> None:
        """Write down how the job ended. Raises LeaseLost, DatabaseUnavailable."""
        told = {"reason": reason, "verdict": verdict, "version": version}
        told = {name: value for name, value in told.items() if value is not None}
        with self._base.writing() as connection:
            self._move(connection, self._held(connection, lease), status, told, **told)

    def unfinished(self) -> set[int]:
        """Numbers of all jobs that have not ended."""
        with self._base.reading() as connection:
            waiting = sa.select(jobs.c.id).where(jobs.c.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
            return set(connection.execute(waiting).scalars())

    def _held(self, connection: sa.Connection, lease: Lease) -> Any:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == lease.job.id)).one_or_none()
        if row is None or row.claim != lease.token or row.status != JobStatus.RUNNING:
            raise LeaseLost(f"job {lease.job.id} is no longer this worker's")
        return row

    def _recover(self, connection: sa.Connection, row: Any) -> None:
        """Take a job from a worker that has not been heard of since its lease ended."""
        if row.cancel_requested and not _may_be_published(row):
            self._move(connection, row, JobStatus.CANCELLED)
        else:
            self._again(connection, row, "its worker is gone")

    def _again(self, connection: sa.Connection, row: Any, reason: str) -> None:
        if row.attempts >= MAX_ATTEMPTS:
            reason = f"given up after {row.attempts} attempts without a step forward; the last ended because {reason}"
            self._move(connection, row, JobStatus.FAILED, {"reason": reason}, reason=reason)
        else:
            self._move(connection, row, JobStatus.QUEUED, {"reason": reason}, claim=None, lease=None)

    def _move(
        self, connection: sa.Connection, row: Any, to: JobStatus, told: dict[str, Any] | None = None, **values: Any
    ) -> None:
        assert to in TRANSITIONS[JobStatus(row.status)], f"a job does not go from {row.status} to {to}"
        if to.over:
            values |= {"finished": self._base.now(connection), "claim": None, "lease": None}
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(status=to, **values))
        self._tell(connection, row.id, to, told or {})

    def _tell(self, connection: sa.Connection, job: int, kind: str, data: dict[str, Any]) -> None:
        created = self._base.now(connection)
        connection.execute(sa.insert(events).values(job=job, kind=kind, data=data, created=created))


def _of_key(connection: sa.Connection, key: str, asked: dict[str, Any]) -> Job | None:
    found = connection.execute(sa.select(jobs).where(jobs.c.idempotency_key == key)).one_or_none()
    if found is None:
        return None
    if found.asked != asked:
        raise IdempotencyKeyReused(
            f"this Idempotency-Key belongs to job {found.id}, which asked for something else; "
            "use a new key for a new request"
        )
    return _job(found)


def _row(connection: sa.Connection, number: int) -> Any:
    row = connection.execute(sa.select(jobs).where(jobs.c.id == number)).one_or_none()
    if row is None:
        raise JobNotFound(f"there is no job {number}; GET /jobs lists them")
    return row


def _may_be_published(row: Any) -> bool:
    """Whether the candidate may have been published, by a worker that is gone: then the next one has to see."""
    return bool(row.verdict and row.verdict["publish"])


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        status=JobStatus(row.status),
        request=Request(**row.request),
        created=row.created,
        started=row.started,
        finished=row.finished,
        attempts=row.attempts,
        cancel_requested=row.cancel_requested,
        progress=row.progress,
        verdict=row.verdict,
        parent=row.parent,
        version=row.version,
        reason=row.reason,
    )
