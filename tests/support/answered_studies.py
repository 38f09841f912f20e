"""Studies with answers, without a database."""

from __future__ import annotations

import datetime

from serving.database.tables import NOT_ASSESSED, SCORED, Answer, Image, Study

THRESHOLD = 0.31
VERSION = 7
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)


def answer(
    probability: float | None, reason: str = '', findings: dict[str, float] | None = None
) -> Answer:
    """An answer; without a probability, with the reason why not."""
    flag = probability is None or probability >= THRESHOLD
    return Answer(
        role='stable',
        version=VERSION,
        answered_at=WHEN,
        probability=probability,
        flag=flag,
        reason=reason,
        threshold=THRESHOLD,
        findings=findings or {},
    )


def study(*answers: Answer) -> Study:
    """A study with an image for each answer."""
    made = Study(
        id='ab' * 16,
        version=VERSION,
        arrived_at=WHEN,
        scored_at=WHEN,
        state=SCORED,
        flag=any(a.flag for a in answers),
        reference='',
        is_read=False,
    )
    made.probability = max((a.probability for a in answers if a.probability), default=None)
    if made.probability is None:
        made.state = NOT_ASSESSED
    for position, given in enumerate(answers):
        made.images.append(
            Image(
                id=f'{position:032x}',
                position=position,
                kind='dicom',
                sha256='cd' * 32,
                width=600,
                height=500,
                answers=[given],
            )
        )
    return made
