"""Jobs in the database: order, leases, and what is never done twice."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from app import database, tables
from app.database import Database
from app.errors import DatabaseUnavailable, IdempotencyKeyReused, JobNotFound, JobOver, QueueFull
from app.retraining.jobs import MAX_ATTEMPTS, TRANSITIONS, Job, Jobs, JobStatus, LeaseLost, Request

SCRATCH = Request("scratch")


@pytest.fixture
def jobs(base: Database) -> Jobs:
    return Jobs(base, lease=60)


@pytest.fixture
def hasty(base: Database) -> Jobs:
    """The jobs for workers whose leases end at once."""
    return Jobs(base, lease=-1)


def submit(jobs: Jobs, key: str | None = None, most: int = 100) -> Job:
    return jobs.submit(SCRATCH, {}, key, most)


def kinds(jobs: Jobs, number: int) -> list[str]:
    return [event.kind for event in jobs.events_after(number, 0)[0]]


def test_migrations_give_the_tables_that_the_code_has(base: Database) -> None:
    with base.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    script = ScriptDirectory(str(database.MIGRATIONS))
    assert script.get_current_head() == database.HEAD


def test_ten_processes_migrate_at_once(database_url: str) -> None:
    def migrate(_: int) -> None:
        base = Database(database_url)
        base.migrate()
        base.close()

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(migrate, range(10)))
    base = Database(database_url)
    assert Jobs(base, 60).newest(10, None) == []
    base.close()


def test_a_database_of_a_newer_release_is_refused(base: Database, database_url: str) -> None:
    with base.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    again = Database(database_url)
    with pytest.raises(DatabaseUnavailable, match="another release"):
        again.migrate()
    again.close()


def test_jobs_are_worked_off_in_order_one_at_a_time(jobs: Jobs) -> None:
    numbers = [submit(jobs).id for _ in range(3)]
    for number in numbers:
        lease = jobs.claim()
        assert lease is not None
        assert lease.job.id == number
        assert jobs.claim() is None
        jobs.finish(lease, JobStatus.REJECTED, reason="no better")
    assert jobs.claim() is None
    assert [job.id for job in jobs.newest(2, None)] == numbers[:0:-1]
    assert [job.id for job in jobs.newest(2, before=numbers[1])] == numbers[:1]
    assert kinds(jobs, numbers[0]) == ["queued", "running", "rejected"]
    assert jobs.events_after(numbers[0], 0)[1]


def test_ten_workers_and_twenty_jobs_each_run_once(database_url: str) -> None:
    """Each worker with connections of its own, as processes have; submitted while they work."""
    base = Database(database_url)
    base.migrate()
    taken: Counter[int] = Counter()
    together = most_together = 0
    guard, enough = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal together, most_together
        own = Database(database_url)
        jobs = Jobs(own, 60)
        while not enough.is_set():
            lease = jobs.claim()
            if lease is None:
                enough.wait(0.005)
                continue
            with guard:
                taken[lease.job.id] += 1
                together += 1
                most_together = max(most_together, together)
            jobs.heartbeat(lease, step=1)
            with guard:
                together -= 1
            jobs.finish(lease, JobStatus.PUBLISHED, version=2)
        own.close()

    workers = [threading.Thread(target=work) for _ in range(10)]
    for worker in workers:
        worker.start()
    jobs = Jobs(base, 60)
    numbers = [submit(jobs).id for _ in range(20)]
    for _ in range(3000):
        if jobs.get(numbers[-1]).status.is_over:
            break
        enough.wait(0.01)
    enough.set()
    for worker in workers:
        worker.join()
    assert taken == Counter(numbers)
    assert most_together == 1
    assert all(job.status is JobStatus.PUBLISHED for job in jobs.newest(100, None))
    base.close()


def test_the_same_key_gives_the_same_job_also_at_once(jobs: Jobs) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: submit(jobs, "a key").id, range(16)))
    assert len(set(found)) == 1
    assert submit(jobs, "another").id != found[0]
    with pytest.raises(IdempotencyKeyReused, match=f"job {found[0]}"):
        jobs.submit(SCRATCH, {"epochs": 3}, "a key", 100)
    assert len(jobs.newest(100, None)) == 2


def test_a_full_queue(jobs: Jobs) -> None:
    submit(jobs, most=2)
    second = submit(jobs, "key", most=2)
    with pytest.raises(QueueFull, match="2 jobs"):
        submit(jobs, most=2)
    assert submit(jobs, "key", most=2) == second  # a repeated request is no new one
    assert jobs.claim()
    submit(jobs, most=2)  # one that runs does not wait


def test_a_job_whose_worker_is_gone_is_taken_again_and_the_old_one_may_do_nothing(jobs: Jobs, hasty: Jobs) -> None:
    number = submit(jobs).id
    first = hasty.claim()
    assert first is not None
    second = jobs.claim()
    assert second is not None
    assert (second.job.id, second.job.attempts) == (number, 2)
    for call in (
        lambda: jobs.heartbeat(first),
        lambda: jobs.release(first),
        lambda: jobs.interrupt(first, "late"),
        lambda: jobs.finish(first, JobStatus.PUBLISHED, version=9),
    ):
        with pytest.raises(LeaseLost):
            call()
    jobs.finish(second, JobStatus.PUBLISHED, version=2)
    assert jobs.get(number).version == 2
    with pytest.raises(LeaseLost):
        jobs.finish(second, JobStatus.PUBLISHED, version=3)


def test_a_job_that_never_gets_on_fails_with_the_reason(jobs: Jobs, hasty: Jobs) -> None:
    number = submit(jobs).id
    for attempt in range(MAX_ATTEMPTS):
        lease = hasty.claim()
        assert lease is not None
        assert lease.job.attempts == attempt + 1
    assert hasty.claim() is None
    job = jobs.get(number)
    assert job.status is JobStatus.FAILED
    assert job.reason is not None
    assert "3 attempts" in job.reason
    assert "its worker is gone" in job.reason


def test_steps_forward_give_new_attempts(jobs: Jobs, hasty: Jobs) -> None:
    """A machine that is restarted every night still gets a long training done."""
    number = submit(jobs).id
    for step in range(1, 3 * MAX_ATTEMPTS):
        lease = hasty.claim()
        assert lease is not None, jobs.get(number)
        assert lease.job.id == number
        hasty.heartbeat(lease, step=step)


def test_an_accident_is_tried_again_twice(jobs: Jobs) -> None:
    number = submit(jobs).id
    for _ in range(MAX_ATTEMPTS):
        lease = jobs.claim()
        assert lease is not None
        jobs.interrupt(lease, "training ended with signal 9")
    job = jobs.get(number)
    assert job.status is JobStatus.FAILED
    assert "signal 9" in (job.reason or "")


def test_a_released_job_comes_next_and_no_attempt_is_counted(jobs: Jobs) -> None:
    first, _ = submit(jobs).id, submit(jobs).id
    for _ in range(2 * MAX_ATTEMPTS):
        lease = jobs.claim()
        assert lease is not None
        assert (lease.job.id, lease.job.attempts) == (first, 1)
        jobs.release(lease)


def test_cancelling(jobs: Jobs, hasty: Jobs) -> None:
    waiting = submit(jobs).id
    assert jobs.cancel(waiting).status is JobStatus.CANCELLED
    with pytest.raises(JobOver, match="cancelled"):
        jobs.cancel(waiting)
    running = submit(jobs).id
    lease = jobs.claim()
    assert lease is not None
    assert not jobs.heartbeat(lease)
    assert jobs.cancel(running).status is JobStatus.RUNNING
    assert jobs.heartbeat(lease)
    jobs.finish(lease, JobStatus.CANCELLED)
    assert jobs.get(running).status is JobStatus.CANCELLED
    left_alone = submit(jobs).id
    assert hasty.claim()
    assert jobs.cancel(left_alone).status is JobStatus.CANCELLED  # no worker will hear of it, so at once
    with pytest.raises(JobNotFound):
        jobs.cancel(10**6)


def test_a_cancelled_job_is_not_taken_again(jobs: Jobs, hasty: Jobs) -> None:
    number = submit(jobs).id
    lease = jobs.claim()
    assert lease is not None
    jobs.cancel(number)
    hasty.heartbeat(lease)  # its last sign of life
    assert jobs.claim() is None
    assert jobs.get(number).status is JobStatus.CANCELLED


def test_what_may_be_published_is_not_called_off_without_a_look(jobs: Jobs, hasty: Jobs) -> None:
    """Its worker died between the verdict and the end: only the next one can see whether the version is there."""
    number = submit(jobs).id
    lease = hasty.claim()
    assert lease is not None
    verdict = {"publish": True, "reason": "better"}
    assert not hasty.heartbeat(lease, verdict=verdict)
    assert jobs.cancel(number).status is JobStatus.RUNNING
    second = jobs.claim()
    assert second is not None
    assert (second.job.id, second.job.verdict, second.job.cancel_requested) == (number, verdict, True)
    jobs.finish(second, JobStatus.PUBLISHED, verdict=verdict, version=2)


def test_a_verdict_comes_too_late_for_a_job_that_was_called_off(jobs: Jobs) -> None:
    number = submit(jobs).id
    lease = jobs.claim()
    assert lease is not None
    jobs.cancel(number)
    assert jobs.heartbeat(lease, verdict={"publish": True})
    assert jobs.get(number).verdict is None


def test_a_long_story_is_told_in_parts(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.retraining.jobs.MAX_EVENTS_PER_READ", 2)
    number = submit(jobs).id
    lease = jobs.claim()
    assert lease is not None
    jobs.heartbeat(lease, event="measuring")
    jobs.finish(lease, JobStatus.REJECTED)
    told, last, over = [], 0, False
    while not over:
        found, over = jobs.events_after(number, last)
        assert len(found) <= 2
        told += [event.kind for event in found]
        last = found[-1].id if found else last
    assert told == ["queued", "running", "measuring", "rejected"]


def test_events_tell_the_whole_story_from_any_place(jobs: Jobs) -> None:
    number = submit(jobs).id
    other = submit(jobs).id
    lease = jobs.claim()
    assert lease is not None
    jobs.heartbeat(lease, progress={"epoch": 1})
    jobs.heartbeat(lease, progress={"epoch": 1})  # nothing new, so nothing to tell
    jobs.heartbeat(lease, event="measuring")
    found, over = jobs.events_after(number, 0)
    assert [event.kind for event in found] == ["queued", "running", "progress", "measuring"]
    assert not over
    jobs.finish(lease, JobStatus.PUBLISHED, reason="better", version=2, verdict={"publish": True})
    rest, over = jobs.events_after(number, found[-1].id)
    assert [(event.kind, event.data["version"]) for event in rest] == [("published", 2)]
    assert over
    assert kinds(jobs, other) == ["queued"]
    with pytest.raises(JobNotFound):
        jobs.events_after(10**6, 0)


def test_workers_tell_why_none_can_train(jobs: Jobs) -> None:
    assert jobs.problem_of_workers() is None
    jobs.announce("a", "no data")
    assert jobs.problem_of_workers() == "no data"
    jobs.announce("b", None)
    assert jobs.problem_of_workers() is None
    jobs.announce("b", "no tensorflow")
    assert jobs.problem_of_workers() is not None


def test_no_move_leads_out_of_an_end() -> None:
    assert {status for status in JobStatus if status.is_over} == {
        JobStatus.PUBLISHED,
        JobStatus.REJECTED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    }
    assert set(TRANSITIONS) == set(JobStatus)


def test_a_database_that_is_away(tmp_path: Path) -> None:
    """Each call says so, and the next works as soon as it is back."""
    (tmp_path / "in-the-way").write_text("")
    path = tmp_path / "in-the-way" / "digits.db"
    base = Database(f"sqlite:///{path}")
    jobs = Jobs(base, 60)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            jobs.newest(1, None)
    (tmp_path / "in-the-way").unlink()
    assert jobs.newest(1, None) == []
    base.close()
