"""Reads who and what a radiograph shows: patient, study, age, sex, view position."""

from __future__ import annotations

from dataclasses import dataclass

import pydicom

from records import spelling
from records.dicom import values, views

# From 90 years on, an age can identify a person (HIPAA, 45 CFR 164.514 (b)(2)(i)(C)).
OLDEST_YEARS = 90


@dataclass(frozen=True)
class Attributes:
    """What the header says; '' where it says nothing. `patient`, `study` and `image` identify.

    Attributes:
      patient: PatientID, with its issuer if there is one.
      study: StudyInstanceUID.
      image: SOPInstanceUID.
      time: StudyDate and StudyTime; texts of one patient sort by time.
      age: in full years, at most OLDEST_YEARS.
      sex: F or M.
      view: PA or AP.
      spacing: of pixels in mm, across and down.
    """

    patient: str
    study: str
    image: str
    time: str
    age: str
    sex: str
    view: str
    spacing: tuple[str, str]


def read(dataset: pydicom.Dataset) -> Attributes:
    """The attributes of a data set. Values that cannot be read count as missing."""
    patient = _text(dataset, 'PatientID')
    issuer = _text(dataset, 'IssuerOfPatientID')
    return Attributes(
        patient=f'{issuer}\0{patient}' if patient and issuer else patient,
        study=_text(dataset, 'StudyInstanceUID'),
        image=_text(dataset, 'SOPInstanceUID'),
        time=_text(dataset, 'StudyDate') + _text(dataset, 'StudyTime'),
        age=_age(dataset),
        sex=spelling.sex(values.code(dataset, 'PatientSex')) or '',
        view=views.view_position(dataset),
        spacing=_spacing(dataset),
    )


def limited_age(years: int | None) -> str:
    """An age as it may be kept; '' if it is unknown."""
    return '' if years is None else str(min(years, OLDEST_YEARS))


def _age(dataset: pydicom.Dataset) -> str:
    years = spelling.age(_text(dataset, 'PatientAge'))
    born, taken = _text(dataset, 'PatientBirthDate'), _text(dataset, 'StudyDate')
    if years is None and born.isdigit() and taken.isdigit() and len(born) == len(taken) == 8:
        # Dates are YYYYMMDD, so the difference counts a year on the birthday.
        years = spelling.age(str((int(taken) - int(born)) // 10_000))
    return limited_age(years)


def _spacing(dataset: pydicom.Dataset) -> tuple[str, str]:
    for keyword in ('PixelSpacing', 'ImagerPixelSpacing'):
        try:
            down, across = (float(value) for value in dataset.get(keyword))
        except (TypeError, ValueError):
            continue
        return f'{across:g}', f'{down:g}'
    return '', ''


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return '' if value is None else str(value).strip('\0 ')
