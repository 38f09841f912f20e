"""Descriptions of images, which stay when the retention removes the files."""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    """Adds the table; the gateway describes images of earlier releases that still have files."""
    op.create_table(
        'description',
        sa.Column('image_number', _NUMBER, autoincrement=False, nullable=False),
        sa.Column('revision', sa.Integer(), nullable=False),
        sa.Column('named', sa.LargeBinary(), nullable=True),
        sa.Column('pattern', sa.LargeBinary(), nullable=True),
        sa.Column('view', sa.String(length=2), nullable=False),
        sa.ForeignKeyConstraint(['image_number'], ['image.number']),
        sa.PrimaryKeyConstraint('image_number'),
    )


def downgrade() -> None:
    """Removes it."""
    op.drop_table('description')
