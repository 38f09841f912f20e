"""The names of the features in raw and in transformed examples. No TensorFlow here.

Raw examples (what XrayExampleGen writes): `IMAGE` bytes, `IMAGE_ID` bytes, the 15 labels of
`schemas.labels` int64, `WEIGHT`, and the derived features below. A value that the metadata
table does not give is `UNKNOWN`.
"""

from __future__ import annotations

IMAGE = 'image'  # bytes: an encoded image, JPEG in the NIH layout
IMAGE_ID = 'image_id'  # bytes: e.g. 00000013_005.png

# float, above 0: how many images of its population an image stands for. Records of a sample have it
# (`cxr-triage collect`); ingestion gives all others 1.
WEIGHT = 'weight'

# Added at ingestion.
PATIENT_ID = 'patient_id'  # bytes
AGE = 'age'  # int64 years, -1 when unknown
AGE_BAND = 'age_band'  # bytes, one of AGE_BANDS
SEX = 'sex'  # bytes: F, M
VIEW = 'view_position'  # bytes: PA, AP
FOLLOW_UP = 'follow_up'  # int64: the patient's study number, -1 when unknown

UNKNOWN = 'unknown'
UNKNOWN_NUMBER = -1

SEXES: tuple[str, ...] = ('F', 'M')
VIEWS: tuple[str, ...] = ('PA', 'AP')
AGE_BANDS: tuple[str, ...] = ('00-17', '18-39', '40-59', '60-79', '80+', UNKNOWN)

SPLITS: tuple[str, ...] = ('train', 'val', 'calibration', 'test')


def age_band(age: int) -> str:
    """The band of `AGE_BANDS` for an age in years; a negative age is unknown."""
    if age < 0:
        return UNKNOWN
    for limit, band in ((18, '00-17'), (40, '18-39'), (60, '40-59'), (80, '60-79')):
        if age < limit:
            return band
    return '80+'


def transformed(name: str) -> str:
    """The name of a feature after Transform."""
    return f'{name}_xf'
