"""DataAudit finds each kind of issue in planted examples, and writes audit.json and a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.data_audit import part_file, reading, table
from components.data_audit.component import DataAudit
from components.data_audit.inspection import inspect
from components.data_audit.kinds import KINDS
from components.data_audit.parameters import AuditParameters
from components.data_audit.summary import DataAuditError
from records import tfrecord
from schemas.features import SPLITS
from schemas.labels import NO_FINDING, OTHER
from tests.support import audit_data as data
from tests.support import bad_images

_ABNORMAL = {'Mass': 1}
_IMAGES_PER_SPLIT = 12


def _image(seed: int, change=None, **options: Any) -> bytes:
    image = data.decode(data.draw(seed))
    return data.encode(change(image) if change else image, **options)


def _example(patient: int, image: bytes, split: str = 'train', **fields: Any) -> data.Example:
    return data.Example(image, f'{patient:08d}_000.png', split, **fields)


def _sound_examples() -> list[data.Example]:
    """Examples without issues, in all splits, one image per patient; half of them are abnormal."""
    examples = []
    for patient in range(4 * _IMAGES_PER_SPLIT):
        labels = _ABNORMAL if patient % 8 < 4 else {NO_FINDING: 1}
        examples.append(_example(patient, data.draw(patient), SPLITS[patient % 4], labels=labels))
    return examples


def _planted_examples() -> list[data.Example]:
    """Examples with issues. Each kind occurs at least once."""
    truncated = data.draw(900)[:-3000]
    hole = data.draw(901)
    hole = hole[: len(hole) // 2] + hole[len(hole) // 2 + 1500 :]
    flat = data.encode(Image.new('L', (600, 600), 90))
    grey = data.decode(data.draw(902))
    return [
        _example(900, truncated),
        _example(901, hole),
        _example(902, _image(902, lambda image: image.resize((512, 600))), 'val'),
        _example(903, _image(903, lambda image: image.convert('RGB'))),
        _example(904, _image(904, format='PNG', quality=None)),
        _example(905, flat),
        _example(906, _grey_levels(906, lambda value: 255 if value > 130 else value)),
        _example(907, _grey_levels(907, lambda value: 110 + value // 8)),
        _example(908, _grey_levels(908, lambda value: 255 - value)),
        _example(909, data.draw(0), 'train'),  # the same file as patient 0 of train
        _example(910, data.draw(1), 'test'),  # the same file as patient 1 of val
        _example(911, _image(5, quality=60), 'train'),  # patient 5 is in val
        _example(912, data.draw(912), 'train'),
        data.Example(data.draw(913), '00000912_001.png', 'test'),
        _example(914, data.draw(914), labels={NO_FINDING: 1, 'Mass': 1}),
        _example(915, data.draw(915), labels={}),
        _example(925, data.draw(925), labels={OTHER: 1}),
        data.Example(data.draw(916), None, 'train', patient='x916'),
        data.Example(data.draw(917), 'free-form.png', 'train'),
        _example(918, data.draw(918), age=-1, view='unknown'),
        _example(919, data.encode(Image.fromarray(np.asarray(grey)[:1, :1]))),
        _example(920, b'no image'),
        _example(921, bad_images.cut_and_closed(data.draw(921, progressive=True))),
        _example(922, bad_images.png(np.asarray(data.decode(data.draw(922))), rows=300)),
        _example(
            923,
            data.encode(
                Image.fromarray(np.asarray(grey).astype(np.uint16) << 4), format='PNG', quality=None
            ),
        ),
        _example(924, _grey_levels(924, lambda value: value // 21)),
    ]


def _grey_levels(seed: int, change: Callable[[int], int]) -> bytes:
    """An image whose grey levels are changed by a function."""
    return _image(seed, lambda image: image.point(change))


class Planted(NamedTuple):
    """The audit of sound and planted examples, which tests only read."""

    folder: Path
    images: int
    audit: dict
    page: str


@pytest.fixture(scope='module')
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp('planted')
    examples = [*_sound_examples(), *_planted_examples()]
    artifact = data.write_examples(folder / 'examples', examples)
    data.run_audit(folder / 'audit', artifact, max_pixels=400_000)
    page = (folder / 'audit/audit.html').read_text()
    return Planted(folder, len(examples), _read_audit(folder), page)


def _read_audit(folder: Path) -> dict:
    return json.loads((folder / 'audit/audit.json').read_text())


def _issue(audit: dict, kind: str) -> dict:
    return next(issue for issue in audit['issues'] if issue['kind'] == kind)


@pytest.mark.parametrize(
    ('kind', 'images'),
    [
        ('undecodable', {'00000920_000.png'}),
        (
            'truncated',
            {'00000900_000.png', '00000901_000.png', '00000921_000.png', '00000922_000.png'},
        ),
        ('unsupported', {'00000923_000.png'}),
        ('too_small', {'00000919_000.png'}),
        ('wrong_size', {'00000902_000.png', '00000919_000.png'}),
        ('wrong_channels', {'00000903_000.png'}),
        ('wrong_format', {'00000904_000.png'}),
        ('blank', {'00000905_000.png', '00000919_000.png', '00000924_000.png'}),
        ('saturated', {'00000906_000.png'}),
        ('low_contrast', {'00000907_000.png'}),
        ('inverted_polarity', {'00000908_000.png'}),
        ('contradictory_labels', {'00000914_000.png'}),
        ('no_label_set', {'00000915_000.png'}),
        ('missing_image_id', {None}),
        ('missing_patient', {'free-form.png'}),
        ('missing_metadata', {'00000918_000.png'}),
    ],
)
def test_finds_the_planted_images_and_no_others(planted, kind, images):
    issue = _issue(planted.audit, kind)
    assert {example['image_id'] for example in issue['examples']} == images
    assert issue['count'] == len(issue['examples']) == sum(issue['splits'].values())
    assert issue['total'] == planted.images
    assert issue['share'] == pytest.approx(issue['count'] / issue['total'], abs=1e-7)
    assert all(example['detail'] for example in issue['examples'])


@pytest.mark.parametrize(
    ('kind', 'pairs'),
    [
        ('duplicate', {('00000000_000.png', '00000909_000.png')}),
        ('cross_split_duplicate', {('00000001_000.png', '00000910_000.png')}),
        (
            'duplicate_across_patients',
            {('00000000_000.png', '00000909_000.png'), ('00000001_000.png', '00000910_000.png')},
        ),
        ('near_duplicate', set()),
        ('near_duplicate_across_splits', {('00000911_000.png', '00000005_000.png')}),
        ('near_duplicate_across_patients', {('00000911_000.png', '00000005_000.png')}),
        (
            'duplicate_label_conflict',
            {('00000000_000.png', '00000909_000.png'), ('00000001_000.png', '00000910_000.png')},
        ),
    ],
)
def test_finds_the_planted_copies_and_no_others(planted, kind, pairs):
    issue = _issue(planted.audit, kind)
    actual = {
        (example['image_id'], *(copy['image_id'] for copy in example['with']))
        for example in issue['examples']
    }
    assert actual == pairs
    assert issue['count'] == 2 * len(pairs)


def test_finds_the_patient_in_two_splits(planted):
    issue = _issue(planted.audit, 'patient_in_two_splits')
    assert (issue['count'], issue['unit']) == (1, 'patients')
    assert issue['total'] == planted.audit['patients']
    (example,) = issue['examples']
    assert example['patient'] == '00000912'
    assert {image['split'] for image in example['images']} == {'train', 'test'}


def test_every_kind_is_reported(planted):
    assert [issue['kind'] for issue in planted.audit['issues']] == list(KINDS)
    for kind in (
        'too_large',
        'empty_split',
        'single_class_split',
        'prevalence_shift',
        'source_predicts_label',
    ):
        assert _issue(planted.audit, kind)['count'] == 0


def test_page_is_self_contained(planted):
    page = planted.page
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,|#)', page)
    assert '@import' not in page
    assert 'url(' not in page
    assert '<script' not in page
    for issue in planted.audit['issues']:
        assert (f'id="{issue["kind"]}"' in page) == bool(issue['count'])
    assert page.count('src="data:image/jpeg') >= 20
    assert 'does not decode' in page


def test_temporary_files_are_deleted(planted):
    assert [path for path in planted.folder.rglob('*') if path.name == 'parts'] == []


def test_examples_name_their_record(planted):
    (example,) = _issue(planted.audit, 'inverted_polarity')['examples']
    path = planted.folder / 'examples' / f'Split-{example["split"]}' / example['file']
    payload = next(
        item.payload for item in tfrecord.read(str(path)) if item.index == example['record']
    )
    assert example['image_id'].encode() in payload


def test_text_from_the_data_is_escaped(tmp_path):
    example = data.Example(data.draw(1)[:-3000], '<script>alert(1)</script>', 'train')
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', [example]))
    page = (tmp_path / 'audit/audit.html').read_text()
    assert '<script>' not in page
    assert '&lt;script&gt;' in page


def test_an_empty_data_set_is_an_issue(tmp_path):
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', []))
    audit = _read_audit(tmp_path)
    assert audit['images'] == 0
    assert _issue(audit, 'empty_split')['count'] == 4


def test_a_split_with_one_class_is_an_issue(tmp_path):
    examples = [
        _example(patient, data.draw(patient), 'val', labels=_ABNORMAL) for patient in range(3)
    ]
    artifact = data.write_examples(tmp_path / 'examples', examples, ('val',))
    data.run_audit(tmp_path / 'audit', artifact)
    issue = _issue(_read_audit(tmp_path), 'single_class_split')
    assert [example['split'] for example in issue['examples']] == ['val']


def test_shortcuts_and_shifts_are_issues(tmp_path):
    def examples(split: str, first: int, abnormal: int) -> list[data.Example]:
        """80 examples, of which the abnormal ones differ in view and JPEG quality."""
        return [
            _example(
                patient,
                data.draw(patient % 16, quality=40 if patient < first + abnormal else 92),
                split,
                labels=_ABNORMAL if patient < first + abnormal else {NO_FINDING: 1},
                view='AP' if patient < first + abnormal else 'PA',
            )
            for patient in range(first, first + 80)
        ]

    artifact = data.write_examples(
        tmp_path / 'examples',
        [*examples('train', 0, 60), *examples('test', 200, 20)],
        ('train', 'test'),
    )
    data.run_audit(tmp_path / 'audit', artifact)
    audit = _read_audit(tmp_path)
    assert {'file size', 'JPEG quality'} <= {
        example['statistic'] for example in _issue(audit, 'source_predicts_label')['examples']
    }
    assert {example['by'] for example in _issue(audit, 'source_prevalence')['examples']} == {
        'view_position',
        'source',
    }
    assert {example['label'] for example in _issue(audit, 'prevalence_shift')['examples']} == {
        'abnormal',
        'Mass',
        NO_FINDING,
    }
    rows = {row['statistic']: row for row in audit['statistics']}
    assert rows['JPEG quality']['auc'] == 1.0
    assert rows['JPEG quality']['auc_PA'] is None
    assert rows['width']['auc'] == 0.5
    (train,) = (row for row in audit['splits'] if row['split'] == 'train')
    assert (train['images'], train['patients'], train['positive'], train['negative']) == (
        80,
        80,
        60,
        20,
    )


def test_damaged_example_records_are_counted(tmp_path):
    artifact = data.write_examples(tmp_path / 'examples', _sound_examples()[:8], SPLITS)
    path = next((tmp_path / 'examples/Split-train').iterdir())
    path.write_bytes(path.read_bytes()[:-1000])
    data.run_audit(tmp_path / 'audit', artifact)
    issue = _issue(_read_audit(tmp_path), 'undecodable')
    assert issue['count'] == 1
    assert 'the file ends inside this record' in issue['examples'][0]['detail']


def test_a_task_label_that_no_example_has_is_refused(tmp_path):
    artifact = data.write_examples(tmp_path / 'examples', _sound_examples()[:4])
    with pytest.raises(DataAuditError, match=r"'abnorml'.*abnormal, age"):
        data.run_audit(tmp_path / 'audit', artifact, task_label='abnorml')


@pytest.mark.parametrize(
    'parameters', [{'widht': 600}, {'width': 0}, {'format': 'GIF'}, {'source_auc': 0.4}], ids=str
)
def test_invalid_parameters_are_refused(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        AuditParameters.model_validate_json(json.dumps(parameters))


def test_component_has_its_properties_and_output():
    audit = DataAudit(Channel(type=standard_artifacts.Examples), '{"width": 512}', 'abc')
    assert audit.exec_properties == {'parameters': '{"width": 512}', 'code_digest': 'abc'}
    assert audit.outputs['audit'].type_name == 'components.DataAuditReport'


@pytest.mark.real_data
@pytest.mark.slow
def test_issues_of_real_images(real_data, tmp_path):
    examples = data.real_examples(real_data)
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', examples))
    audit = _read_audit(tmp_path)
    assert (audit['images'], audit['decoded'], audit['patients']) == (1948, 1948, 1468)
    issues = {issue['kind']: issue for issue in audit['issues'] if issue['count']}
    assert set(issues) == {'inverted_polarity', 'source_predicts_label', 'source_prevalence'}
    # These two images really are inverted.
    assert {example['image_id'] for example in issues['inverted_polarity']['examples']} == {
        '00017999_000.png',
        '00017625_000.png',
    }
    assert [example['statistic'] for example in issues['source_predicts_label']['examples']] == [
        'file size'
    ]


@pytest.mark.real_data
@pytest.mark.slow
def test_inverted_real_images_are_found(real_data, tmp_path):
    examples = data.real_examples(real_data, files=3)
    for example in examples:
        example.image = data.encode(data.decode(example.image).point(lambda value: 255 - value))
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', examples))
    issue = _issue(_read_audit(tmp_path), 'inverted_polarity')
    assert issue['share'] >= 0.99


def test_images_are_decoded_ahead_and_returned_in_order() -> None:
    requested: list[int] = []

    def numbers():
        for number in range(5 * reading._AHEAD):
            requested.append(number)
            yield number

    with ThreadPoolExecutor(3) as pool:
        squares = reading._ahead(pool, lambda number: number**2, numbers())
        assert next(squares) == 0
        assert len(requested) == reading._AHEAD
        assert list(squares) == [number**2 for number in range(1, 5 * reading._AHEAD)]
        with pytest.raises(ZeroDivisionError):
            list(reading._ahead(pool, lambda number: 1 // number, iter([1, 0])))


def _records(shards: list[reading.Shard]) -> list[reading.ImageRecord]:
    """Five records per file: decoded ones, whose hashes end with a zero byte, and damaged ones."""
    inspection = inspect(data.draw(1), max_pixels=10**8)
    inspection = replace(inspection, pixel_hash=b'\x01\0', byte_hash=b'\xff\0\0')
    return [
        reading.ImageRecord(
            shard=shard.number,
            index=index,
            image_id=f'{index:08d}_\N{GREEK SMALL LETTER ALPHA}.png',
            patient=str(index),
            age=50,
            sex='F',
            view='PA',
            labels=(0, 1, reading.MISSING) * 5,
            task=index % 2,
            size=100,
            inspection=inspection if index % 2 else None,
            problem='' if index % 2 else 'damaged',
            features=('image',) if index == 0 else (),
        )
        for shard in shards
        for index in range(5)
    ]


def _assert_equal(actual: table.Table, expected: table.Table) -> None:
    for field in fields(table.Table):
        value, other = getattr(actual, field.name), getattr(expected, field.name)
        if field.name == 'number':
            assert value.keys() == other.keys()
            for name in value:
                np.testing.assert_array_equal(value[name], other[name])
        elif isinstance(value, np.ndarray):
            assert value.dtype == other.dtype
            np.testing.assert_array_equal(value, other)
        else:
            assert value == other


@pytest.fixture
def shards() -> list[reading.Shard]:
    return [reading.Shard(number, SPLITS[number], f'/{number}') for number in range(3)]


def test_the_order_of_the_parts_does_not_change_the_table(shards) -> None:
    records = _records(shards)
    parts = [
        table.build(part, shards) for part in ([], records[9:], records[4:9], records[:4][::-1])
    ]
    _assert_equal(table.concatenate(parts), table.build(records, shards))
    assert len(table.concatenate([table.build([], shards)])) == 0


@pytest.mark.parametrize('count', [0, 1, 15])
def test_a_file_gives_the_same_part(shards, count) -> None:
    part = table.build(_records(shards)[:count], shards)
    _assert_equal(part_file.decode(part_file.encode(part), shards), part)
