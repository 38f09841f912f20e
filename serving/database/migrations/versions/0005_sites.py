"""The sites of studies and tokens."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'


def upgrade() -> None:
    """Adds the columns; earlier studies and tokens have the site without a name."""
    for table in ('study', 'token'):
        # A default, since gateways of the release before may still add rows.
        column = sa.Column('site', sa.String(length=64), nullable=False, server_default='')
        op.add_column(table, column)
    op.create_index('study_by_site', 'study', ['site', 'number'])


def downgrade() -> None:
    """Removes them."""
    op.drop_index('study_by_site', 'study')
    for table in ('token', 'study'):
        op.drop_column(table, 'site')
