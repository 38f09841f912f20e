"""The codes and identifiers of reports, whatever their format."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from schemas.labels import FINDINGS
from serving.notice import RESEARCH_USE


class Concept(NamedTuple):
    """A coded concept, like `pydicom.sr.coding.Code`, which takes a second to load."""

    value: str
    scheme: str
    meaning: str


PRODUCT = 'cxr-triage'
# Of codes that no standard has.
SCHEME = '99CXRTRIAGE'
FLAG = Concept('flag', SCHEME, 'Triage flag')
FLAGGED = Concept('flagged', SCHEME, 'Flagged')
NOT_FLAGGED = Concept('not-flagged', SCHEME, 'Not flagged')
ASSESSMENT = Concept('assessment', SCHEME, 'Assessment')
ASSESSED = Concept('assessed', SCHEME, 'Assessed')
INTENDED_USE = Concept('intended-use', SCHEME, 'Intended use')
RESEARCH = Concept('research', SCHEME, RESEARCH_USE)
CHEST_XRAY = Concept('399208008', 'SCT', 'Plain chest X-ray')
ABNORMAL = Concept('263654008', 'SCT', 'Abnormal')
PROBABILITY = Concept('122157', 'DCM', 'Probability')
THRESHOLD = Concept('122411', 'DCM', 'Threshold Value')
# Of a model that predicts findings, too.
PROBABILITY_OF = {
    name: Concept(
        name.lower().replace('_', '-'), SCHEME, f'Probability of {name.replace("_", " ")}'
    )
    for name in FINDINGS
}
# Of UUIDs of version 5: whoever makes a report of a study again gives it the same names.
NAMESPACE = uuid.UUID('6a3c0e0b-5f6f-4b0c-9a58-1f0d3d0c7e11')


def stable_uuid(*parts: object) -> uuid.UUID:
    """A UUID that follows from its parts."""
    return uuid.uuid5(NAMESPACE, '/'.join(str(part) for part in parts))


def uid(*parts: object) -> str:
    """A DICOM UID that follows from its parts."""
    return f'2.25.{stable_uuid(*parts).int}'
