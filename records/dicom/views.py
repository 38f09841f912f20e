"""The view of a radiograph, by the codes of ViewPosition and ViewCodeSequence."""

from __future__ import annotations

import pydicom

from records.dicom import values

# ViewPosition of the CR and DX modules (PS3.3, C.8.1.1 and C.8.11.5), and views that are as well
# understood. AXIAL ones look from below: lordotic.
_FRONTAL = {'PA': 'PA', 'AP': 'AP', 'PA AXIAL': 'PA', 'AP AXIAL': 'AP'}
_OTHER = frozenset({
    *('LL', 'RL', 'LATERAL', 'LAT', 'LLAT', 'RLAT', 'LEFT LATERAL', 'RIGHT LATERAL'),
    *('LLD', 'RLD', 'LLO', 'RLO', 'LAO', 'RAO', 'LPO', 'RPO', 'OBLIQUE', 'OBL'),
    *('CC', 'MLO', 'ML', 'LM', 'XCCL', 'AXIAL'),
})  # fmt: skip
# CID 4010 (PS3.16), in SNOMED CT and in the older SNOMED RT: frontal ones.
_FRONTAL_CODES = {
    '272479007': 'PA',
    'R-40888': 'PA',
    'R-10214': 'PA',
    '399348003': 'AP',
    'R-10206': 'AP',
}
# Lateral and oblique ones.
_OTHER_CODES = frozenset({
    *('399067008', '399173006', '399198007', '399352003', '399260004', '399182000', '399184004'),
    *('399236003', '399135007', '399356000', '399006002', '399038007', '399160007', '399312000'),
    *('399059000', '260427002', '30730003', '399061009'),
    *('R-102CD', 'R-10236', 'R-10232'),
})  # fmt: skip
# A frontal view without a direction: it could be either.
_UNDIRECTED_CODES = frozenset({'399033003', 'R-10202'})


def view_position(dataset: pydicom.Dataset) -> str:
    """'PA', 'AP', or '' if the file does not say."""
    return _FRONTAL.get(values.code(dataset, 'ViewPosition')) or next(
        (_FRONTAL_CODES[code] for code in _view_codes(dataset) if code in _FRONTAL_CODES), ''
    )


def is_known(dataset: pydicom.Dataset) -> bool:
    """Whether the file says that the view is frontal."""
    return bool(view_position(dataset)) or not _UNDIRECTED_CODES.isdisjoint(_view_codes(dataset))


def is_other_position(dataset: pydicom.Dataset) -> bool:
    """Whether ViewPosition is that of another view than a frontal one."""
    return values.code(dataset, 'ViewPosition') in _OTHER


def is_unknown_position(dataset: pydicom.Dataset) -> bool:
    """Whether ViewPosition has a value that is not understood."""
    code = values.code(dataset, 'ViewPosition')
    return bool(dataset.get('ViewPosition')) and code not in _FRONTAL and code not in _OTHER


def has_other_code(dataset: pydicom.Dataset) -> bool:
    """Whether ViewCodeSequence has the code of another view than a frontal one."""
    return not _OTHER_CODES.isdisjoint(_view_codes(dataset))


def is_side_on(dataset: pydicom.Dataset) -> bool:
    """Whether PatientOrientation says that rows or columns run from front to back."""
    return any(code[:1] in ('A', 'P') for code in values.codes(dataset, 'PatientOrientation'))


def _view_codes(dataset: pydicom.Dataset) -> list[str]:
    codes = (str(item.get('CodeValue', '')) for item in values.items(dataset, 'ViewCodeSequence'))
    return [code.strip() for code in codes if code.strip()]
