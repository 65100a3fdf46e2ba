"""Workers announce the recipes that they know."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("workers", sa.Column("recipes", sa.JSON))
