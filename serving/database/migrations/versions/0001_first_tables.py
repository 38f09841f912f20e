"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        'audit_entry',
        sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('at', sa.String(length=40), nullable=False),
        sa.Column('actor', sa.String(length=100), nullable=False),
        sa.Column('action', sa.String(length=40), nullable=False),
        sa.Column('subject', sa.String(length=100), nullable=False),
        sa.Column('details', sa.Text(), nullable=False),
        sa.Column('previous', sa.String(length=64), nullable=False),
        sa.Column('digest', sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint('number'),
        sa.UniqueConstraint('digest'),
    )
    op.create_table(
        'study',
        sa.Column('number', _NUMBER, autoincrement=True, nullable=False),
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('arrived_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('uploaded_by', sa.String(length=100), nullable=False),
        sa.Column('reference', sa.String(length=100), nullable=False),
        sa.Column('state', sa.String(length=20), nullable=False),
        sa.Column('probability', sa.Float(), nullable=True),
        sa.Column('flag', sa.Boolean(), nullable=True),
        sa.Column('version', sa.BigInteger(), nullable=True),
        sa.Column('scored_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('is_read', sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint('number'),
        sa.UniqueConstraint('id'),
    )
    op.create_index('study_by_flag', 'study', ['flag', 'number'], unique=False)
    op.create_index('study_by_probability', 'study', ['probability', 'number'], unique=False)
    op.create_index('study_by_state', 'study', ['state', 'number'], unique=False)
    op.create_table(
        'token',
        sa.Column('number', _NUMBER, autoincrement=True, nullable=False),
        sa.Column('name', sa.String(length=100), nullable=False),
        sa.Column('roles', sa.JSON(), nullable=False),
        sa.Column('sha256', sa.String(length=64), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('number'),
        sa.UniqueConstraint('name'),
        sa.UniqueConstraint('sha256'),
    )
    op.create_table(
        'image',
        sa.Column('number', _NUMBER, autoincrement=True, nullable=False),
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('study_number', _NUMBER, nullable=False),
        sa.Column('position', sa.Integer(), nullable=False),
        sa.Column('kind', sa.String(length=10), nullable=False),
        sa.Column('sha256', sa.String(length=64), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('width', sa.Integer(), nullable=False),
        sa.Column('height', sa.Integer(), nullable=False),
        sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ['study_number'],
            ['study.number'],
        ),
        sa.PrimaryKeyConstraint('number'),
        sa.UniqueConstraint('id'),
    )
    op.create_index(op.f('ix_image_study_number'), 'image', ['study_number'], unique=False)
    op.create_table(
        'reading',
        sa.Column('number', _NUMBER, autoincrement=True, nullable=False),
        sa.Column('study_number', _NUMBER, nullable=False),
        sa.Column('verdict', sa.String(length=20), nullable=False),
        sa.Column('findings', sa.JSON(), nullable=False),
        sa.Column('text', sa.String(length=4000), nullable=False),
        sa.Column('reader', sa.String(length=100), nullable=False),
        sa.Column('version', sa.BigInteger(), nullable=True),
        sa.Column('read_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['study_number'],
            ['study.number'],
        ),
        sa.PrimaryKeyConstraint('number'),
    )
    op.create_index(op.f('ix_reading_study_number'), 'reading', ['study_number'], unique=False)
    op.create_table(
        'answer',
        sa.Column('number', _NUMBER, autoincrement=True, nullable=False),
        sa.Column('image_number', _NUMBER, nullable=False),
        sa.Column('role', sa.String(length=10), nullable=False),
        sa.Column('version', sa.BigInteger(), nullable=False),
        sa.Column('answered_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('probability', sa.Float(), nullable=True),
        sa.Column('flag', sa.Boolean(), nullable=False),
        sa.Column('reason', sa.String(length=100), nullable=False),
        sa.Column('threshold', sa.Float(), nullable=True),
        sa.Column('findings', sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ['image_number'],
            ['image.number'],
        ),
        sa.PrimaryKeyConstraint('number'),
        sa.UniqueConstraint('image_number', 'role', name='answer_once'),
    )


def downgrade() -> None:
    """Removes the tables."""
    for table in ('answer', 'reading', 'image', 'token', 'study', 'audit_entry'):
        op.drop_table(table)
