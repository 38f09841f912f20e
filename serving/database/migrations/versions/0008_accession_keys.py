"""Keyed hashes of accession numbers, by which a table of labels finds studies."""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    """Adds the column; studies from earlier releases have none."""
    op.add_column('study', sa.Column('accession_key', sa.String(64), nullable=True))
    op.create_index('study_by_accession_key', 'study', ['accession_key'])


def downgrade() -> None:
    """Removes it."""
    op.drop_index('study_by_accession_key', 'study')
    op.drop_column('study', 'accession_key')
