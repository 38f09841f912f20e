"""What the network saw in an image, for monitoring."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    """Adds the column; answers from earlier releases have no embedding."""
    op.add_column('answer', sa.Column('embedding', sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Removes it."""
    op.drop_column('answer', 'embedding')
