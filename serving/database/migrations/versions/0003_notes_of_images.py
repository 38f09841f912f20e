"""Notes about the file of an image, which its reader sees."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    """Adds the column; images from earlier releases have no notes."""
    op.add_column('image', sa.Column('notes', sa.JSON(), nullable=True))


def downgrade() -> None:
    """Removes it."""
    op.drop_column('image', 'notes')
