"""What the reader makes of each kind of file: the table in docs/dicom.md.

The first rule that refuses a file ends the check. No message has a value of the header in it that
is not a code of DICOM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pydicom

from records.dicom import syntaxes, values, views
from records.dicom.error import HEADER_UNREADABLE, reading, unsupported

ACCEPTED, NOTED, REFUSED = 'accepted', 'accepted with a note', 'refused'
_CHEST = frozenset({'CHEST', 'THORAX', 'LUNG', 'LUNGS', 'PORT CHEST', 'RIB', 'RIBS', 'HEART'})
# Cases that go on from 'is'.
_PREDICATES = ('missing', 'not ', 'above ', 'below ')
_Test = Callable[[pydicom.Dataset], bool]


@dataclass(frozen=True)
class Rule:
    """What happens to a file with a property.

    Attributes:
      keyword: the attribute that has it.
      case: the property, as the table and messages name it.
      verdict: ACCEPTED, NOTED or REFUSED.
      meaning: why, and what the reader does.
      applies: whether a file has the property; None for a file that no other rule concerns.
    """

    keyword: str
    case: str
    verdict: str
    meaning: str
    applies: _Test | None = None

    def message(self, dataset: pydicom.Dataset) -> str:
        """The rule in a sentence, with the value if it is a code."""
        value = '' if self.keyword in _HIDDEN else values.code(dataset, self.keyword)
        case = value if value and not self.case.startswith('missing') else self.case
        link = ' is' if value or case.startswith(_PREDICATES) else ':'
        return f'{values.name(self.keyword)}{link} {case}: {self.meaning}'


def check(dataset: pydicom.Dataset) -> tuple[str, ...]:
    """The notes about a file, from its header.

    Raises:
      DicomError: a rule refuses it, and the text names the attribute; or an attribute that a rule
        needs cannot be read.
    """
    notes = []
    # pydicom reads a value when it is asked for, so a damaged one is noticed only here.
    with reading(HEADER_UNREADABLE):
        for rule in RULES:
            if rule.applies is not None and rule.applies(dataset):
                if rule.verdict == REFUSED:
                    raise unsupported(rule.message(dataset))
                notes.append(rule.message(dataset))
    return tuple(notes)


def as_markdown() -> str:
    """The rows of the table in docs/dicom.md."""
    rows = (
        f'| {values.name(rule.keyword)} | {rule.case} | {rule.verdict} | {rule.meaning} |'
        for rule in RULES
    )
    return '\n'.join(rows)


def _is(keyword: str, *codes: str) -> _Test:
    return lambda dataset: values.code(dataset, keyword) in codes


def _missing(keyword: str) -> _Test:
    return lambda dataset: dataset.get(keyword) in (None, '')


def _other(keyword: str, accepted: frozenset[str]) -> _Test:
    """Whether an attribute has a value, and not one of these."""
    return lambda dataset: (
        not _missing(keyword)(dataset) and values.code(dataset, keyword) not in accepted
    )


def _number_other_than(keyword: str, accepted: range | tuple[int, ...]) -> _Test:
    return lambda dataset: values.integer(dataset, keyword) not in accepted


def _has_several(keyword: str) -> _Test:
    def test(dataset: pydicom.Dataset) -> bool:
        value = dataset.get(keyword)
        return isinstance(value, pydicom.multival.MultiValue) and len(value) > 1

    return test


def _has_several_items(keyword: str) -> _Test:
    return lambda dataset: len(values.items(dataset, keyword)) > 1


def _frames(dataset: pydicom.Dataset) -> bool:
    return not _missing('NumberOfFrames')(dataset) and (
        values.integer(dataset, 'NumberOfFrames') not in (0, 1)
    )


def _stored_bits(dataset: pydicom.Dataset) -> bool:
    stored, allocated = (values.integer(dataset, name) for name in ('BitsStored', 'BitsAllocated'))
    return stored is None or allocated is None or not 8 <= stored <= allocated


def _high_bit(dataset: pydicom.Dataset) -> bool:
    high, stored = (values.integer(dataset, name) for name in ('HighBit', 'BitsStored'))
    return high is not None and stored is not None and high != stored - 1


def _impossible_high_bit(dataset: pydicom.Dataset) -> bool:
    high, stored, allocated = (
        values.integer(dataset, name) for name in ('HighBit', 'BitsStored', 'BitsAllocated')
    )
    if high is None or stored is None or allocated is None:
        return False
    return not stored - 1 <= high < allocated


def _unequal_sides(dataset: pydicom.Dataset) -> bool:
    ratio = dataset.get('PixelAspectRatio')
    try:
        return ratio not in (None, '') and int(ratio[0]) != int(ratio[1])
    except (TypeError, ValueError, IndexError):
        return True


def _secondary(dataset: pydicom.Dataset) -> bool:
    return values.code(dataset, 'ImageType', 0) == 'DERIVED' and (
        values.code(dataset, 'ImageType', 1) == 'SECONDARY'
    )


def _contradictory_shape(dataset: pydicom.Dataset) -> bool:
    pair = (
        values.code(dataset, 'PhotometricInterpretation'),
        values.code(dataset, 'PresentationLUTShape'),
    )
    return pair in (('MONOCHROME1', 'IDENTITY'), ('MONOCHROME2', 'INVERSE'))


def _turned(dataset: pydicom.Dataset) -> bool:
    codes = values.codes(dataset, 'PatientOrientation')
    return any(codes) and tuple(code[:1] for code in codes) != ('L', 'F')


def _unwindowed(dataset: pydicom.Dataset) -> bool:
    has_window = not any(_missing(name)(dataset) for name in ('WindowCenter', 'WindowWidth'))
    return not (
        has_window
        or values.items(dataset, 'VOILUTSequence')
        or values.integer(dataset, 'BitsStored') == 8
    )


# Their values are numbers, several values, or no help.
_HIDDEN = frozenset({
    *('BitsAllocated', 'BitsStored', 'HighBit', 'Rows', 'Columns', 'SamplesPerPixel'),
    *('NumberOfFrames', 'PixelAspectRatio', 'PatientOrientation', 'ImageType', 'WindowCenter'),
    *('VOILUTSequence', 'ViewCodeSequence', 'TransferSyntaxUID', 'PixelRepresentation'),
    'PresentationLUTShape',
})  # fmt: skip

RULES = (
    Rule(
        'TransferSyntaxUID', 'missing', REFUSED, 'how the pixels are stored is unknown',
        lambda dataset: dataset.file_meta.get('TransferSyntaxUID') is None,
    ),
    Rule(
        'TransferSyntaxUID', 'not one of the table above', REFUSED,
        'it cannot be decoded; send the image uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE',
        lambda dataset: not syntaxes.is_known(dataset.file_meta.TransferSyntaxUID),
    ),
    Rule('Modality', 'CR, DX', ACCEPTED, 'a digital radiograph'),
    Rule(
        'Modality', 'RG, SC, OT', NOTED,
        'a scanned film or a secondary capture, whose grey levels may have been changed',
        _is('Modality', 'RG', 'SC', 'OT'),
    ),
    Rule(
        'Modality', 'missing', NOTED, 'de-identified public data lacks it; expected CR or DX',
        _missing('Modality'),
    ),
    Rule(
        'Modality', 'any other', REFUSED, 'expected a radiograph (CR or DX)',
        _other('Modality', frozenset({'CR', 'DX', 'RG', 'SC', 'OT'})),
    ),
    Rule(
        'PresentationIntentType', 'FOR PROCESSING', REFUSED,
        'raw data of the detector, which no radiologist sees; send the image FOR PRESENTATION',
        _is('PresentationIntentType', 'FOR PROCESSING'),
    ),
    Rule(
        'QualityControlImage', 'YES', REFUSED, 'an image of a phantom',
        _is('QualityControlImage', 'YES'),
    ),
    Rule(
        'BurnedInAnnotation', 'YES', REFUSED,
        'its pixels may show who the patient is, and nothing here removes that',
        _is('BurnedInAnnotation', 'YES'),
    ),
    Rule(
        'ImageType', r'DERIVED\SECONDARY', NOTED,
        r'made from another image; DERIVED\PRIMARY, as detectors write it, has no note',
        _secondary,
    ),
    Rule(
        'LossyImageCompression', '01', NOTED, 'fine detail may be lost',
        _is('LossyImageCompression', '01'),
    ),
    Rule(
        'BodyPartExamined', 'not the chest', NOTED,
        'expected CHEST; modalities often have it wrong, so it decides nothing',
        _other('BodyPartExamined', _CHEST),
    ),
    Rule('ViewPosition', 'PA, AP (also AXIAL)', ACCEPTED, 'a frontal view'),
    Rule(
        'ViewPosition', 'LL, RL, LLD, RLD, LLO, RLO, and other views by name', REFUSED,
        'expected a frontal view (PA or AP)', views.is_other_position,
    ),
    Rule(
        'ViewPosition', 'a value that is not understood', NOTED,
        'expected PA or AP; the view counts as unknown', views.is_unknown_position,
    ),
    Rule(
        'ViewCodeSequence', 'a view that is not frontal', REFUSED,
        'expected a frontal view of CID 4010 (SNOMED CT or RT)', views.has_other_code,
    ),
    Rule(
        'PatientOrientation', 'A or P first, in either direction', REFUSED,
        'the patient is seen from the side', views.is_side_on,
    ),
    Rule(
        'PatientOrientation', r'not L\F', NOTED,
        'the image is shown as stored, not turned or mirrored', _turned,
    ),
    Rule(
        'ViewPosition', 'missing, without a view code', NOTED, 'the view is unknown',
        lambda dataset: (
            not views.is_known(dataset) and not views.is_unknown_position(dataset)
        ),
    ),
    Rule(
        'NumberOfFrames', 'more than 1', REFUSED, 'expected a single image', _frames,
    ),
    Rule(
        'SamplesPerPixel', 'not 1', REFUSED, 'expected a grey image',
        lambda dataset: values.integer(dataset, 'SamplesPerPixel', 1) != 1,
    ),
    Rule(
        'PhotometricInterpretation', 'not MONOCHROME1 or MONOCHROME2', REFUSED,
        'expected MONOCHROME1 or MONOCHROME2',
        lambda dataset: (
            values.code(dataset, 'PhotometricInterpretation') not in ('MONOCHROME1', 'MONOCHROME2')
        ),
    ),
    Rule(
        'PresentationLUTShape', 'INVERSE with MONOCHROME2, IDENTITY with MONOCHROME1', NOTED,
        'the two contradict each other; PresentationLUTShape decides, as in DCMTK and dcm4che',
        _contradictory_shape,
    ),
    Rule(
        'Rows', 'missing, or not a number above 0', REFUSED, 'the size is unknown',
        lambda dataset: (values.integer(dataset, 'Rows') or 0) <= 0,
    ),
    Rule(
        'Columns', 'missing, or not a number above 0', REFUSED, 'the size is unknown',
        lambda dataset: (values.integer(dataset, 'Columns') or 0) <= 0,
    ),
    Rule(
        'PixelAspectRatio', 'not 1:1', REFUSED, 'expected square pixels', _unequal_sides,
    ),
    Rule(
        'BitsAllocated', 'not 8 or 16', REFUSED, 'expected whole bytes',
        _number_other_than('BitsAllocated', (8, 16)),
    ),
    Rule(
        'BitsStored', 'missing, below 8, or above BitsAllocated', REFUSED,
        'expected 8 to 16 bits', _stored_bits,
    ),
    Rule(
        'HighBit', 'below BitsStored - 1, or outside of BitsAllocated', REFUSED,
        'the place of the values is unknown', _impossible_high_bit,
    ),
    Rule(
        'HighBit', 'above BitsStored - 1', NOTED, 'the bits up to it are used', _high_bit,
    ),
    Rule(
        'PixelRepresentation', 'missing', NOTED, 'the values count as unsigned',
        _missing('PixelRepresentation'),
    ),
    Rule(
        'VOILUTSequence', 'several tables', NOTED, 'the first one is used',
        _has_several_items('VOILUTSequence'),
    ),
    Rule(
        'WindowCenter', 'several windows', NOTED, 'the first one is used',
        _has_several('WindowCenter'),
    ),
    Rule(
        'WindowCenter', 'missing, as the VOI LUT, with more than 8 bits', NOTED,
        'all levels from the lowest to the highest value are used', _unwindowed,
    ),
)  # fmt: skip
