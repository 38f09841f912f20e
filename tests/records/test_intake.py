"""Judging a record: acceptance, the patient, and the reason and advice of each rejection."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from records.examples import build
from records.intake import Accepted, Intake, Rejected
from records.metadata import Entry
from tests.support import bad_images
from tests.support.encoded_images import encode, jpeg_header, pixels, png_header

ID = '00000013_005.png'
IMAGE = encode(pixels(600, 600))
ENTRY = Entry('00000077', 60, 'M', 'AP', 5, ('Mass',))


def record(image: bytes = IMAGE, image_id: str | None = ID) -> bytes:
    return build(image, image_id, {'Mass': 1})


def accepted(intake: Intake, payload: bytes) -> Accepted:
    verdict = intake.judge(payload)
    assert isinstance(verdict, Accepted), verdict
    return verdict


def rejected(intake: Intake, payload: bytes) -> Rejected:
    verdict = intake.judge(payload)
    assert isinstance(verdict, Rejected)
    return verdict


def test_a_record_of_the_layout_is_accepted_without_a_note() -> None:
    verdict = accepted(Intake({ID: ENTRY}), record())
    assert (verdict.patient_id, verdict.patient_source, verdict.entry, verdict.notes) == (
        '00000077',
        'metadata',
        ENTRY,
        (),
    )
    assert verdict.record.image == IMAGE
    assert (verdict.header.width, verdict.header.height) == (600, 600)


@pytest.mark.parametrize(
    ('rules', 'image_id', 'patient', 'source'),
    [
        pytest.param(
            {'metadata': {ID: ENTRY}, 'patient_id_pattern': r'^\d+_(\d+)'},
            ID,
            '00000077',
            'metadata',
            id='table before pattern',
        ),
        pytest.param(
            {'patient_id_pattern': r'^\d+_(\d+)'},
            ID,
            '00000005',
            'pattern',
            id='pattern before NIH form; numbers get 8 digits',
        ),
        pytest.param(
            {'patient_id_pattern': r'^(person\d+)'},
            'person7_virus_1.png',
            'person7',
            'pattern',
            id='pattern',
        ),
        pytest.param(
            {'patient_id_pattern': r'^(person\d+)'},
            ID,
            '00000013',
            'image_id',
            id='NIH form where the pattern does not match',
        ),
        pytest.param(
            {'patient_id_pattern': r'^(person\d+)?'},
            ID,
            '00000013',
            'image_id',
            id='NIH form where the group is empty',
        ),
        pytest.param({}, ID, '00000013', 'image_id', id='NIH form'),
    ],
)
def test_patient(rules: dict, image_id: str, patient: str, source: str) -> None:
    verdict = accepted(Intake(**rules), record(image_id=image_id))
    assert (verdict.patient_id, verdict.patient_source) == (patient, source)


@pytest.mark.parametrize('image_id', [None, ''], ids=['no image_id', 'empty image_id'])
@pytest.mark.parametrize('rules', [{}, {'metadata': {ID: ENTRY}}], ids=['no table', 'table'])
def test_without_image_id_equal_images_are_one_patient(image_id: str | None, rules: dict) -> None:
    verdict = accepted(Intake(**rules), record(image_id=image_id))
    assert verdict.patient_id == f'sha256:{hashlib.sha256(IMAGE).hexdigest()}'
    assert (verdict.patient_source, verdict.notes) == ('image', ('missing_image_id',))


def test_an_unknown_patient_is_rejected_with_advice() -> None:
    verdict = rejected(Intake(patient_id_pattern=r'^(person\d+)'), record(image_id='scan-7.png'))
    assert verdict.kind == 'missing_patient'
    assert verdict.image_id == 'scan-7.png'
    for part in (
        'scan-7.png',
        'PPPPPPPP_FFF.png',
        r'^(person\\d+)',
        'provide a metadata table',
        'patient_id_pattern',
    ):
        assert part in verdict.reason


def test_an_image_missing_from_the_table() -> None:
    verdict = rejected(Intake({'other.png': ENTRY}), record())
    assert (verdict.kind, verdict.image_id) == ('not_in_metadata', ID)
    assert "set missing_metadata to 'keep'" in verdict.reason
    result = accepted(Intake({'other.png': ENTRY}, missing_metadata='keep'), record())
    assert (result.patient_id, result.entry, result.notes) == (
        '00000013',
        None,
        ('not_in_metadata',),
    )


@pytest.mark.parametrize(
    ('image', 'notes'),
    [
        pytest.param(encode(pixels(600, 600), 'PNG'), ('wrong_format',), id='PNG'),
        pytest.param(encode(pixels(600, 600), mode='RGB'), ('wrong_channels',), id='RGB'),
        pytest.param(
            encode(pixels(512, 600), 'PNG', 'RGB'),
            ('wrong_format', 'wrong_channels', 'wrong_size'),
            id='PNG RGB of another size',
        ),
        pytest.param(encode(pixels(64, 64)), ('wrong_size',), id='least size'),
    ],
)
def test_what_the_decoder_can_handle_is_accepted_with_a_note(
    image: bytes, notes: tuple[str, ...]
) -> None:
    assert accepted(Intake(), record(image)).notes == notes


@pytest.mark.parametrize(
    ('payload', 'kind', 'message'),
    [
        pytest.param(b'garbage', 'invalid_record', 'not a tf.train.Example', id='no Example'),
        pytest.param(build(b'', ID, {}), 'invalid_record', "'image' is empty", id='empty image'),
        pytest.param(record(IMAGE[:-900]), 'truncated', 'cut off', id='truncated JPEG'),
        pytest.param(
            record(encode(pixels(600, 63))),
            'too_small',
            '63x600 pixels: expected at least 64',
            id='narrow',
        ),
        pytest.param(
            record(png_header(20000, 20000)),
            'too_large',
            'at most 8192 on each side (max_side)',
            id='PNG 20000x20000',
        ),
        pytest.param(
            record(jpeg_header(600, 600, 0xC1, 12, size=2000)),
            'unsupported',
            '12 bits',
            id='JPEG of 12 bits',
        ),
        pytest.param(
            record(image_id='left-out.png'), 'excluded', 'list of excluded images', id='excluded'
        ),
    ],
)
def test_rejected(payload: bytes, kind: str, message: str) -> None:
    verdict = rejected(Intake(exclude=frozenset({'left-out.png'})), payload)
    assert verdict.kind == kind
    assert message in verdict.reason


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        pytest.param(
            {'missing_metadata': 'drop'}, "missing_metadata is 'drop'", id='missing_metadata'
        ),
        pytest.param(
            {'min_side': 700, 'max_side': 600},
            'min_side <= max_side',
            id='sides the wrong way round',
        ),
        pytest.param({'min_side': 0}, 'min_side', id='side 0'),
        pytest.param(
            {'patient_id_pattern': r'^person\d+'}, 'has 0 groups', id='pattern without a group'
        ),
        pytest.param(
            {'patient_id_pattern': r'(a)(b)'}, 'has 2 groups', id='pattern with two groups'
        ),
        pytest.param({'patient_id_pattern': r'(a'}, 'not a regular expression', id='no pattern'),
    ],
)
def test_invalid_rules_are_refused(rules: dict, message: str) -> None:
    with pytest.raises(ValueError, match=r'.') as caught:
        Intake(**rules)
    assert message in str(caught.value)


def test_intake_can_be_pickled() -> None:
    intake = pickle.loads(
        pickle.dumps(Intake({ID: ENTRY}, patient_id_pattern='(x)', exclude=frozenset({'y'})))
    )
    assert accepted(intake, record()).patient_id == '00000077'


@pytest.mark.parametrize(
    ('image', 'kind'), [pytest.param(*case, id=name) for name, case in bad_images.BY_HEADER.items()]
)
def test_bad_images_are_rejected_under_the_name_of_the_problem(image: bytes, kind: str) -> None:
    verdict = rejected(Intake(), record(image))
    assert (verdict.kind, verdict.image_id) == (kind, ID)
    assert verdict.reason.startswith('the image cannot be used: ')


@pytest.mark.parametrize(
    'image', [pytest.param(image, id=name) for name, image in bad_images.UNSUPPORTED.items()]
)
def test_unsupported_images_are_rejected_with_advice(image: bytes) -> None:
    verdict = rejected(Intake(), record(image))
    assert verdict.kind == 'unsupported'
    assert 'cxr-triage convert' in verdict.reason


def test_tensorflow_decodes_accepted_images() -> None:
    tf = pytest.importorskip('tensorflow')
    kinds = [('JPEG', 'L'), ('JPEG', 'RGB'), ('PNG', 'L'), ('PNG', 'RGB')]
    for image in [encode(pixels(), kind, mode) for kind, mode in kinds] + [
        encode(pixels(), progressive=True)
    ]:
        accepted(Intake(), record(image))
        assert tf.io.decode_image(image, channels=1, expand_animations=False).shape == (80, 90, 1)
