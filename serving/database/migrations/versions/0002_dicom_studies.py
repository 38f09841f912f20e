"""DICOM studies, whose images arrive one by one, and reports about them."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    """Adds the keys of studies and images, and the table of reports."""
    op.add_column('study', sa.Column('dicom_key', sa.String(length=64), nullable=True))
    # A default, since gateways of the release before may still add studies.
    op.add_column(
        'study', sa.Column('image_count', sa.Integer(), nullable=False, server_default='0')
    )
    op.create_index('study_by_dicom_key', 'study', ['dicom_key'], unique=True)
    op.add_column('image', sa.Column('dicom_key', sa.String(length=64), nullable=True))
    op.create_index('instance_once', 'image', ['study_number', 'dicom_key'], unique=True)
    op.create_table(
        'report',
        sa.Column('number', _NUMBER, autoincrement=True, nullable=False),
        sa.Column('study_number', _NUMBER, nullable=False),
        sa.Column('target', sa.String(length=300), nullable=False),
        sa.Column('images', sa.Integer(), nullable=False),
        sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('problem', sa.String(length=300), nullable=False),
        sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['study_number'], ['study.number']),
        sa.PrimaryKeyConstraint('number'),
        sa.UniqueConstraint('study_number', 'target', 'images', name='report_once'),
    )
    op.create_index('report_by_due_time', 'report', ['target', 'sent_at', 'due_at'], unique=False)


def downgrade() -> None:
    """Removes them."""
    op.drop_table('report')
    op.drop_index('instance_once', 'image')
    op.drop_column('image', 'dicom_key')
    op.drop_index('study_by_dicom_key', 'study')
    op.drop_column('study', 'image_count')
    op.drop_column('study', 'dicom_key')
