"""Bytes of results, and indexes for what a user has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("result_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
        batch_op.create_index("jobs_of_owner_by_phase", ["owner", "phase", "kind", "created"], unique=False)
        batch_op.create_index("jobs_results_kept", ["owner", "phase", "result_bytes"], unique=False)
    # A job has one result, and said its size within the text of its results.
    if op.get_bind().dialect.name == "sqlite":
        size = "json_extract(results, '$[0].size')"
    else:
        size = "CAST(CAST(results AS json) -> 0 ->> 'size' AS bigint)"
    op.execute(f"UPDATE jobs SET result_bytes = COALESCE({size}, 0) WHERE results <> '[]'")  # noqa: S608
