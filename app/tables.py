"""The tables of the database: jobs, their events, workers, and feedback with the history of its labels."""

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Double, ForeignKey, Identity, Index, Integer, LargeBinary, Table, Text

# Times are seconds since 1970, UTC, from the database's clock, since the clocks of several hosts may differ.
metadata = sa.MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("status", Text, nullable=False, index=True),
    Column("asked", sa.JSON, nullable=False),  # the request's body, to recognise a repeated request
    Column("request", sa.JSON, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    # While the job runs: the lease's token, which is new for each attempt, and the time at which the lease expires.
    Column("claim", Text),
    Column("lease", Double),
    Column("steps", Integer, nullable=False),  # epochs and phases that are done
    Column("attempts", Integer, nullable=False),  # how often a worker took it since its last step
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress", sa.JSON(none_as_null=True)),
    Column("verdict", sa.JSON(none_as_null=True)),
    Column("parent", Integer),
    Column("version", Integer),
    Column("reason", Text),
    sqlite_autoincrement=True,  # ids are never reused
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", sa.JSON, nullable=False),
    Column("created", Double, nullable=False),
    Index("events_of_job", "job", "id"),
    sqlite_autoincrement=True,
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seen", Double, nullable=False),
    Column("problem", Text),  # why it cannot train, or null
    Column("recipes", sa.JSON(none_as_null=True)),  # names of the recipes that it knows
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 of the preprocessed image
    Column("label", Integer, nullable=False),
    Column("held_back", Boolean, nullable=False),  # held out: measured on, never learned from
    Column("seen", LargeBinary, nullable=False),  # the preprocessed image, 28x28 bytes
    Column("sent", LargeBinary, nullable=False),
    Column("sent_type", Text, nullable=False),
    Column("prediction", Integer, nullable=False),
    Column("probabilities", sa.JSON, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created", Double, nullable=False),
    sqlite_autoincrement=True,
)

labels = Table(
    "labels",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("feedback", Integer, ForeignKey("feedback.id"), nullable=False, index=True),
    Column("label", Integer, nullable=False),
    Column("created", Double, nullable=False),
    sqlite_autoincrement=True,
)
