"""Retraining jobs in the database: requests, progress and results."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import sqlalchemy as sa

from app import tables
from app.database import Database
from app.errors import IdempotencyKeyReused, JobNotFound, JobOver, QueueFull

# Attempts without a step forward after which a job has failed.
MAX_ATTEMPTS = 3

WORKER_TIMEOUT_SECONDS = 30.0  # after this time without an announcement, a worker counts as gone

MAX_EVENTS_PER_READ = 1000  # a long training has tens of thousands

jobs, events, workers = tables.jobs, tables.events, tables.workers


class JobStatus(StrEnum):
    """The status of a job. TRANSITIONS has the legal changes."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker trains, measures or publishes
    PUBLISHED = "published"  # the candidate became a version, which serves
    REJECTED = "rejected"  # the candidate was not better; the verdict has the figures
    FAILED = "failed"  # the job could not be done; it has a reason
    CANCELLED = "cancelled"  # a user cancelled it

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return not TRANSITIONS[self]


TRANSITIONS = {
    JobStatus.QUEUED: {JobStatus.RUNNING, JobStatus.CANCELLED},
    JobStatus.RUNNING: {
        JobStatus.QUEUED,  # its worker is stopping, or gone
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
    """The settings of a job. None leaves a choice to training.

    Attributes:
        start: ``current`` fine-tunes the version that serves, ``scratch`` trains a new network.
        recipe: Recipe of a new network.
        epochs: Number of epochs.
        images: Most MNIST images to learn from.
        feedback_share: Share of the training images that are feedback.
        force: Whether to publish the candidate even if the gate rejects it.
    """

    start: Literal["current", "scratch"]
    recipe: str | None = None
    epochs: int | None = None
    images: int | None = None
    feedback_share: float | None = None
    force: bool = False


@dataclass(frozen=True)
class Job:
    """One retraining job. Times are seconds since 1970, UTC.

    Attributes:
        id: Number of the job.
        status: Its status.
        request: Its settings.
        created: When it was queued.
        started: When a worker first took it.
        finished: When it ended.
        attempts: How often a worker took it since its last step.
        cancel_requested: Whether its worker is to cancel it.
        progress: The last ``Progress``.
        verdict: The gate's ``Verdict``.
        parent: The version that it fine-tunes.
        version: The version that was published.
        reason: Why it ended that way.
    """

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
    """A worker's lease of a job.

    Attributes:
        job: The job when it was taken.
        token: The lease's token. Only the worker with the newest one may change the job.
    """

    job: Job
    token: str


@dataclass(frozen=True)
class Event:
    """An event of a job.

    Attributes:
        id: Number of the event. Later events have higher numbers.
        kind: Kind of the event, such as ``progress`` or a status.
        data: Details, depending on the kind.
        created: When it happened, in seconds since 1970, UTC.
    """

    id: int
    kind: str
    data: dict[str, Any]
    created: float


class LeaseLost(Exception):
    """The job was given to another worker, or has ended. This worker must stop working on it."""


class Jobs:
    """The jobs in a database, for the service and for the workers. All methods may raise DatabaseUnavailable."""

    def __init__(self, database: Database, lease: float) -> None:
        """Use a database.

        Args:
            database: The database.
            lease: Seconds without a heartbeat after which a worker loses its job.
        """
        self._database, self._lease = database, lease

    # For the service.

    def submit(self, request: Request, body: dict[str, Any], key: str | None, max_queued: int) -> Job:
        """Queue a new job, unless there is one for the same key.

        Args:
            request: The settings of the job.
            body: The request's body, before defaults were chosen.
            key: The Idempotency-Key, if any.
            max_queued: Most jobs in the queue.

        Returns:
            The new job, or the one that the key belongs to.

        Raises:
            IdempotencyKeyReused: The key belongs to a request with another body.
            QueueFull: ``max_queued`` jobs are queued already.
        """
        with self._database.writing() as connection:
            if key is not None and (job := _find_by_key(connection, key, body)):
                return job
            queued = connection.execute(
                sa.select(sa.func.count()).where(jobs.c.status == JobStatus.QUEUED)
            ).scalar_one()
            if queued >= max_queued:
                raise QueueFull(f"{queued} jobs are queued already; try again when one has ended, or cancel one")
            row = connection.execute(
                sa.insert(jobs)
                .values(
                    status=JobStatus.QUEUED,
                    asked=body,
                    request=asdict(request),
                    idempotency_key=key,
                    created=self._database.now(connection),
                    steps=0,
                    attempts=0,
                    cancel_requested=False,
                )
                .returning(jobs)
            ).one()
            self._record_event(connection, row.id, "queued", {})
            return _job(row)

    def find_by_key(self, key: str, body: dict[str, Any]) -> Job | None:
        """Return the job that an Idempotency-Key belongs to, if any.

        Raises:
            IdempotencyKeyReused: The key belongs to a request with another body.
        """
        with self._database.reading() as connection:
            return _find_by_key(connection, key, body)

    def get(self, number: int) -> Job:
        """Return a job.

        Raises:
            JobNotFound: No job has this number.
        """
        with self._database.reading() as connection:
            return _job(_row(connection, number))

    def newest(self, limit: int, before: int | None) -> list[Job]:
        """Return jobs, newest first.

        Args:
            limit: Most jobs.
            before: If given, only jobs with lower numbers.
        """
        query = sa.select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def cancel(self, number: int) -> Job:
        """Cancel a job: a queued one at once, a running one at its worker's next heartbeat.

        Raises:
            JobNotFound: No job has this number.
            JobOver: The job has ended.
        """
        with self._database.writing() as connection:
            row = _row(connection, number)
            status = JobStatus(row.status)
            if status.is_over:
                raise JobOver(f"job {number} has ended: {status}")
            has_no_worker = status is JobStatus.QUEUED or row.lease < self._database.now(connection)
            if has_no_worker and not _may_be_published(row):
                self._transition(connection, row, JobStatus.CANCELLED)
            else:
                connection.execute(sa.update(jobs).where(jobs.c.id == number).values(cancel_requested=True))
            return _job(_row(connection, number))

    def events_after(self, number: int, last: int) -> tuple[list[Event], bool]:
        """Return a job's next events.

        Args:
            number: Number of the job.
            last: Only events with higher ids.

        Returns:
            At most MAX_EVENTS_PER_READ events, and whether there will be no more after them.

        Raises:
            JobNotFound: No job has this number.
        """
        with self._database.reading() as connection:
            is_over = JobStatus(_row(connection, number).status).is_over
            rows = connection.execute(
                sa.select(events)
                .where(events.c.job == number, events.c.id > last)
                .order_by(events.c.id)
                .limit(MAX_EVENTS_PER_READ)
            )
            found = [Event(row.id, row.kind, row.data, row.created) for row in rows]
            return found, is_over and len(found) < MAX_EVENTS_PER_READ

    def newest_event(self) -> int:
        """Return the id of the newest event of any job, or 0 if there is none."""
        with self._database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0)

    def problem_of_workers(self) -> str | None:
        """Return why no worker can train, or None if there is no worker or one can."""
        with self._database.reading() as connection:
            oldest = self._database.now(connection) - WORKER_TIMEOUT_SECONDS
            problems = connection.execute(sa.select(workers.c.problem).where(workers.c.seen > oldest)).scalars().all()
        return problems[0] if problems and all(problems) else None

    def recipes_of_workers(self) -> list[str]:
        """Return the names of the recipes that the workers know, or an empty list if there is no worker."""
        with self._database.reading() as connection:
            oldest = self._database.now(connection) - WORKER_TIMEOUT_SECONDS
            lists = connection.execute(sa.select(workers.c.recipes).where(workers.c.seen > oldest)).scalars()
            return list(dict.fromkeys(name for recipes in lists for name in recipes or []))

    # For the workers.

    def announce(self, name: str, problem: str | None, recipes: Sequence[str] = ()) -> None:
        """Record that a worker is alive.

        Args:
            name: Name of the worker.
            problem: Why it cannot train, if so.
            recipes: Names of the recipes that it knows.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            values = {"seen": now, "problem": problem, "recipes": list(recipes)}
            connection.execute(
                self._database.insert(workers)
                .values(name=name, **values)
                .on_conflict_do_update(index_elements=[workers.c.name], set_=values)
            )
            connection.execute(sa.delete(workers).where(workers.c.seen < now - 24 * 3600))

    def claim(self) -> Lease | None:
        """Take the next job: one whose worker is gone, else the one that was queued first.

        Returns:
            A lease, or None if no job is queued or another one is running, since jobs run one at a time.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            for running in connection.execute(sa.select(jobs).where(jobs.c.status == JobStatus.RUNNING)).all():
                if running.lease > now:
                    return None
                self._take_back(connection, running)
            row = connection.execute(
                sa.select(jobs).where(jobs.c.status == JobStatus.QUEUED).order_by(jobs.c.id).limit(1)
            ).one_or_none()
            if row is None:
                return None
            token = uuid.uuid4().hex
            self._transition(
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
        """Renew the lease and record the job's progress.

        Args:
            lease: The worker's lease.
            progress: The last ``Progress``.
            step: Number of epochs and phases that are done.
            parent: The version that the job fine-tunes.
            verdict: The gate's verdict. It must be recorded before the candidate is published, and is not if the job is
                to be cancelled.
            event: Kind of another event to record.

        Returns:
            Whether the job is to be cancelled.

        Raises:
            LeaseLost: The worker no longer has the job.
        """
        with self._database.writing() as connection:
            row = self._leased_row(connection, lease)
            values: dict[str, Any] = {"lease": self._database.now(connection) + self._lease}
            if progress is not None and progress != row.progress:
                values["progress"] = progress
                self._record_event(connection, row.id, "progress", progress)
            if event is not None:
                self._record_event(connection, row.id, event, {})
            if step is not None and step > row.steps:
                values |= {"steps": step, "attempts": 1}
            if parent is not None:
                values["parent"] = parent
            if verdict is not None and not row.cancel_requested:
                values["verdict"] = verdict
            connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(values))
            return bool(row.cancel_requested)

    def release(self, lease: Lease) -> None:
        """Put the job back at the head of the queue, since its worker is stopping. No attempt is counted.

        The worker must not have published the candidate.

        Raises:
            LeaseLost: The worker no longer has the job.
        """
        with self._database.writing() as connection:
            row = self._leased_row(connection, lease)
            if row.cancel_requested:
                self._transition(connection, row, JobStatus.CANCELLED, verdict=None)
            else:
                values = {"claim": None, "lease": None, "verdict": None, "attempts": row.attempts - 1}
                self._transition(connection, row, JobStatus.QUEUED, **values)

    def interrupt(self, lease: Lease, reason: str) -> None:
        """Queue the job again after its training was interrupted. After MAX_ATTEMPTS without a step, it has failed.

        Raises:
            LeaseLost: The worker no longer has the job.
        """
        with self._database.writing() as connection:
            self._requeue(connection, self._leased_row(connection, lease), reason)

    def finish(
        self,
        lease: Lease,
        status: JobStatus,
        *,
        reason: str | None = None,
        verdict: dict[str, Any] | None = None,
        version: int | None = None,
    ) -> None:
        """Record how the job ended.

        Args:
            lease: The worker's lease.
            status: The final status.
            reason: Why it ended that way.
            verdict: The gate's verdict.
            version: The version that was published.

        Raises:
            LeaseLost: The worker no longer has the job.
        """
        values = {"reason": reason, "verdict": verdict, "version": version}
        values = {name: value for name, value in values.items() if value is not None}
        with self._database.writing() as connection:
            self._transition(connection, self._leased_row(connection, lease), status, values, **values)

    def unfinished(self) -> set[int]:
        """Return the numbers of all jobs that have not ended."""
        with self._database.reading() as connection:
            query = sa.select(jobs.c.id).where(jobs.c.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
            return set(connection.execute(query).scalars())

    def _leased_row(self, connection: sa.Connection, lease: Lease) -> Any:
        """Return the job's row. Raise LeaseLost if the worker no longer has the job."""
        row = connection.execute(sa.select(jobs).where(jobs.c.id == lease.job.id)).one_or_none()
        if row is None or row.claim != lease.token or row.status != JobStatus.RUNNING:
            raise LeaseLost(f"job {lease.job.id} is no longer this worker's")
        return row

    def _take_back(self, connection: sa.Connection, row: Any) -> None:
        """Take a job from a worker whose lease has expired."""
        if row.cancel_requested and not _may_be_published(row):
            self._transition(connection, row, JobStatus.CANCELLED)
        else:
            self._requeue(connection, row, "its worker is gone")

    def _requeue(self, connection: sa.Connection, row: Any, reason: str) -> None:
        if row.attempts >= MAX_ATTEMPTS:
            reason = f"given up after {row.attempts} attempts without a step forward; the last one: {reason}"
            self._transition(connection, row, JobStatus.FAILED, {"reason": reason}, reason=reason)
        else:
            self._transition(connection, row, JobStatus.QUEUED, {"reason": reason}, claim=None, lease=None)

    def _transition(
        self, connection: sa.Connection, row: Any, status: JobStatus, data: dict[str, Any] | None = None, **values: Any
    ) -> None:
        """Change a job's status and other columns, and record an event with ``data``."""
        assert status in TRANSITIONS[JobStatus(row.status)], f"a job cannot change from {row.status} to {status}"
        if status.is_over:
            values |= {"finished": self._database.now(connection), "claim": None, "lease": None}
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(status=status, **values))
        self._record_event(connection, row.id, status, data or {})

    def _record_event(self, connection: sa.Connection, job: int, kind: str, data: dict[str, Any]) -> None:
        created = self._database.now(connection)
        connection.execute(sa.insert(events).values(job=job, kind=kind, data=data, created=created))


def _find_by_key(connection: sa.Connection, key: str, body: dict[str, Any]) -> Job | None:
    row = connection.execute(sa.select(jobs).where(jobs.c.idempotency_key == key)).one_or_none()
    if row is None:
        return None
    if row.asked != body:
        raise IdempotencyKeyReused(
            f"this Idempotency-Key belongs to job {row.id}, whose request was another; use a new key for a new request"
        )
    return _job(row)


def _row(connection: sa.Connection, number: int) -> Any:
    row = connection.execute(sa.select(jobs).where(jobs.c.id == number)).one_or_none()
    if row is None:
        raise JobNotFound(f"there is no job {number}; GET /jobs lists them")
    return row


def _may_be_published(row: Any) -> bool:
    """Return whether a worker that is gone may have published the candidate. The next worker checks that."""
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
