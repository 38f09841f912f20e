"""Reports that are given up, so that they no longer keep files of patients."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'


def upgrade() -> None:
    """Adds the column; no report of an earlier release was given up."""
    op.add_column('report', sa.Column('given_up_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Removes it."""
    op.drop_column('report', 'given_up_at')
