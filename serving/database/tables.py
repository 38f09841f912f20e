"""The tables of the gateway.

Nothing here identifies a patient: names, ids and dates of birth stay in the uploaded files.
"""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

# States of a study.
PENDING, SCORED, NOT_ASSESSED = 'pending', 'scored', 'not_assessed'
STATES = (PENDING, SCORED, NOT_ASSESSED)
# SQLite numbers rows by itself only in a column of this type.
_Number = BigInteger().with_variant(Integer, 'sqlite')


class UtcDateTime(TypeDecorator):
    """A time with its zone; SQLite stores it without one, in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Stores UTC."""
        if value is None:
            return None
        value = value.astimezone(datetime.timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == 'sqlite' else value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Reads UTC."""
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=datetime.timezone.utc)
        return value


class Base(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {
        datetime.datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
    }


class Study(Base):
    """What was uploaded together, or a DICOM study: a row of the work list.

    Attributes:
      number: the order of arrival.
      id: the public name, random.
      state: pending, scored or not_assessed.
      probability, flag: the highest of its images; None until it is scored. A study with an image
        that was not assessed is flagged.
      version: the version that answered.
      dicom_key: of the DICOM study, whose images may arrive one by one; see `serving.pacs.keys`.
      accession_key: see `serving.pacs.accession`.
      image_count: grows with each image that joins the study; answers count only if it has not
        changed meanwhile.
      site: where it comes from; see `serving.sites`.
    """

    __tablename__ = 'study'
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    arrived_at: Mapped[datetime.datetime]
    uploaded_by: Mapped[str] = mapped_column(String(100))
    reference: Mapped[str] = mapped_column(String(100), default='')
    state: Mapped[str] = mapped_column(String(20), default=PENDING)
    probability: Mapped[float | None]
    flag: Mapped[bool | None]
    version: Mapped[int | None] = mapped_column(BigInteger)
    scored_at: Mapped[datetime.datetime | None]
    is_read: Mapped[bool] = mapped_column(default=False)
    dicom_key: Mapped[str | None] = mapped_column(String(64))
    accession_key: Mapped[str | None] = mapped_column(String(64))
    image_count: Mapped[int] = mapped_column(default=0, server_default='0')
    site: Mapped[str] = mapped_column(String(64), default='', server_default='')
    images: Mapped[list[Image]] = relationship(back_populates='study', order_by='Image.position')
    readings: Mapped[list[Reading]] = relationship(order_by='Reading.number')
    __table_args__ = (
        Index('study_by_state', 'state', 'number'),
        Index('study_by_probability', 'probability', 'number'),
        Index('study_by_flag', 'flag', 'number'),
        Index('study_by_dicom_key', 'dicom_key', unique=True),
        Index('study_by_accession_key', 'accession_key'),
        Index('study_by_site', 'site', 'number'),
    )


class Image(Base):
    """An image of a study, and its file.

    Attributes:
      id: the public name, random; also that of the file.
      kind: png, jpeg or dicom.
      sha256: of the uploaded file.
      deleted_at: when its file was removed by the retention.
      dicom_key: of the DICOM instance, which joins its study once.
      notes: what a reader should know about the file, sentences; None from an earlier release.
    """

    __tablename__ = 'image'
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    study_number: Mapped[int] = mapped_column(ForeignKey('study.number'), index=True)
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(10))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    deleted_at: Mapped[datetime.datetime | None]
    dicom_key: Mapped[str | None] = mapped_column(String(64))
    notes: Mapped[list[str] | None] = mapped_column(JSON)
    study: Mapped[Study] = relationship(back_populates='images')
    answers: Mapped[list[Answer]] = relationship(order_by='Answer.number')
    __table_args__ = (Index('instance_once', 'study_number', 'dicom_key', unique=True),)


class Answer(Base):
    """What a version answered about an image.

    Attributes:
      role: 'stable', or 'canary' for an answer that is only recorded.
      reason: why the image was not assessed; '' if it was.
      threshold: the operating point of the version.
      embedding: `schemas.signatures.EMBEDDING`, little-endian float32; None if the version has none
        or did not assess the image.
    """

    __tablename__ = 'answer'
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    image_number: Mapped[int] = mapped_column(ForeignKey('image.number'))
    role: Mapped[str] = mapped_column(String(10))
    version: Mapped[int] = mapped_column(BigInteger)
    answered_at: Mapped[datetime.datetime]
    probability: Mapped[float | None]
    flag: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(100), default='')
    threshold: Mapped[float | None]
    findings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # Only monitoring reads it.
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    # An image is answered once, whatever is killed and tried again.
    __table_args__ = (UniqueConstraint('image_number', 'role', name='answer_once'),)


class Description(Base):
    """Numbers that describe an image, without showing it; see `serving.descriptions`.

    Attributes:
      revision: of the program that described it.
      named, pattern: little-endian numbers; None for an image that cannot be decoded.
      view: PA, AP, or '' if it is not known.
    """

    __tablename__ = 'description'
    image_number: Mapped[int] = mapped_column(
        ForeignKey('image.number'), primary_key=True, autoincrement=False
    )
    revision: Mapped[int]
    named: Mapped[bytes | None]
    pattern: Mapped[bytes | None]
    view: Mapped[str] = mapped_column(String(2), default='')


class Reading(Base):
    """A reader's verdict on a study.

    Attributes:
      verdict: normal, abnormal or not_assessable.
      version: the version whose answer the reader saw.
    """

    __tablename__ = 'reading'
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    study_number: Mapped[int] = mapped_column(ForeignKey('study.number'), index=True)
    verdict: Mapped[str] = mapped_column(String(20))
    findings: Mapped[list[str]] = mapped_column(default=list)
    text: Mapped[str] = mapped_column(String(4000), default='')
    reader: Mapped[str] = mapped_column(String(100))
    version: Mapped[int | None] = mapped_column(BigInteger)
    read_at: Mapped[datetime.datetime]


class Report(Base):
    """A report about a study, for one target; see `serving.pacs.outbox`.

    Attributes:
      target: the name of the target.
      images: how many images of the study have answers; a later report has more of them.
      due_at: when it is sent or tried again.
      problem: why the last attempt failed.
      sent_at: when the target accepted it.
      given_up_at: since when it is not tried any more; see `serving.pacs.unsent`.
    """

    __tablename__ = 'report'
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    study_number: Mapped[int] = mapped_column(ForeignKey('study.number'))
    target: Mapped[str] = mapped_column(String(300))
    images: Mapped[int]
    due_at: Mapped[datetime.datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    problem: Mapped[str] = mapped_column(String(300), default='')
    sent_at: Mapped[datetime.datetime | None]
    given_up_at: Mapped[datetime.datetime | None]
    study: Mapped[Study] = relationship()
    __table_args__ = (
        UniqueConstraint('study_number', 'target', 'images', name='report_once'),
        Index('report_by_due_time', 'target', 'sent_at', 'due_at'),
    )


class AuditEntry(Base):
    """A line of the audit log; see `serving.audit`."""

    __tablename__ = 'audit_entry'
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(40))
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), unique=True)


class Token(Base):
    """An access token: only its SHA-256 is stored.

    Attributes:
      roles: some of upload, read, release and admin.
      site: of what is uploaded with it; '' for that of the gateway.
    """

    __tablename__ = 'token'
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    roles: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime.datetime]
    revoked_at: Mapped[datetime.datetime | None]
    site: Mapped[str] = mapped_column(String(64), default='', server_default='')
