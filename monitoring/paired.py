"""Reads from the gateway's database what two versions answered about the same images."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from monitoring import canary
from serving.database.tables import Answer, Image, Reading
from serving.studies import CANARY, STABLE

NORMAL, ABNORMAL = 'normal', 'abnormal'


@dataclass(frozen=True)
class _Pair:
    """The two answers about an image; the outcome of a study is made of several."""

    study: int
    at: datetime.datetime
    stable: tuple[bool, float | None, str]
    canary: tuple[bool, float | None, str]


@dataclass(frozen=True)
class Paired:
    """What both versions answered.

    Attributes:
      studies: that both answered. Images that joined a study later count as another one.
      read: of them, those that readers called normal or abnormal.
      values: for `canary.judge`; see `canary`.
    """

    studies: int
    read: int
    values: Mapping[str, np.ndarray]


def read(
    session: Session, stable: int, candidate: int, since: datetime.datetime | None = None
) -> Paired:
    """The answers of two versions about the same images, in the order in which they came.

    What came before a call is the same in all later calls, so that a result does not change
    afterwards: of several readings of a study, the first counts that says normal or abnormal.

    Args:
      session: of the database.
      stable: the version under the label `stable`.
      candidate: the version under the label `canary`.
      since: only answers of the canary after this time; it may have been canary before.
    """
    pairs = _pairs(session, stable, candidate, since)
    values: dict[str, list[float]] = {name: [] for name in canary.NAMES}
    for units in _units(pairs):
        values[canary.FLAGS].append(_mean([pair.canary[0] - pair.stable[0] for pair in units]))
        values[canary.LOST].append(
            _mean([bool(pair.canary[2]) - bool(pair.stable[2]) for pair in units])
        )
        changes = [
            pair.canary[1] - pair.stable[1]
            for pair in units
            if pair.canary[1] is not None and pair.stable[1] is not None
        ]
        if changes:
            values[canary.PROBABILITY].append(_mean(changes))
            values[canary.DIFFERENCE].append(_mean([abs(change) for change in changes]))
    studies, verdicts = len(values[canary.FLAGS]), _verdicts(session, stable, pairs)
    for verdict, stable_flag, canary_flag in verdicts:
        if verdict == ABNORMAL and stable_flag:
            values[canary.MISSED].append(float(not canary_flag))
        if verdict == NORMAL and not stable_flag:
            values[canary.OVERCALLED].append(float(canary_flag))
    return Paired(
        studies, len(verdicts), {name: np.array(numbers) for name, numbers in values.items()}
    )


def _pairs(
    session: Session, stable: int, candidate: int, since: datetime.datetime | None
) -> list[_Pair]:
    ours, theirs = aliased(Answer), aliased(Answer)
    query = (
        select(
            Image.study_number,
            theirs.answered_at,
            ours.flag,
            ours.probability,
            ours.reason,
            theirs.flag,
            theirs.probability,
            theirs.reason,
        )
        .join(ours, ours.image_number == Image.number)
        .join(theirs, theirs.image_number == Image.number)
        .where(ours.role == STABLE, ours.version == stable)
        .where(theirs.role == CANARY, theirs.version == candidate)
        .order_by(theirs.number)
    )
    if since is not None:
        query = query.where(theirs.answered_at >= since)
    return [
        _Pair(study, at, (bool(a), b, c), (bool(d), e, f))
        for study, at, a, b, c, d, e, f in session.execute(query)
    ]


def _units(pairs: Sequence[_Pair]) -> list[list[_Pair]]:
    """The images of a study that were answered together, as they are not independent."""
    units: dict[tuple[int, datetime.datetime], list[_Pair]] = {}
    for pair in pairs:
        units.setdefault((pair.study, pair.at), []).append(pair)
    return list(units.values())


def _verdicts(
    session: Session, stable: int, pairs: Sequence[_Pair]
) -> list[tuple[str, bool, bool]]:
    """Verdict, stable flag and canary flag of the studies that were read, in that order."""
    by_study: dict[int, list[_Pair]] = {}
    for pair in pairs:
        by_study.setdefault(pair.study, []).append(pair)
    query = (
        select(Reading.study_number, Reading.verdict, Reading.read_at)
        .where(Reading.verdict.in_((NORMAL, ABNORMAL)), Reading.version == stable)
        .order_by(Reading.number)
    )
    found: dict[int, tuple[str, bool, bool]] = {}
    for study, verdict, at in session.execute(query):
        seen = [pair for pair in by_study.get(study, ()) if pair.at <= at]
        if seen and study not in found:
            found[study] = (
                verdict,
                _is_flagged([pair.stable for pair in seen]),
                _is_flagged([pair.canary for pair in seen]),
            )
    return list(found.values())


def _is_flagged(answers: Sequence[tuple[bool, float | None, str]]) -> bool:
    """The flag of a study, as `studies.record_answers` has it."""
    assessed = [answer for answer in answers if not answer[2]]
    return any(answer[0] for answer in assessed or answers)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
