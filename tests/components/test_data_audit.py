"""DataAudit from Examples to audit.json and the page: each kind of issue planted once, and what is
found.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.data_audit import reading, table
from components.data_audit.component import DataAudit
from components.data_audit.kinds import KINDS
from components.data_audit.parameters import AuditParameters
from components.data_audit.summary import DataAuditError
from records import tfrecord
from schemas.features import SPLITS
from schemas.labels import NO_FINDING
from tests.support import audit_data as data
from tests.support import bad_images

_SICK = {'Mass': 1}
_SLICE = 12  # films a split in the planted data set


def _image(seed: int, change=None, **save: Any) -> bytes:
    film = data.opened(data.drawn(seed))
    return data.encode(change(film) if change else film, **save)


def _plain() -> list[data.Film]:
    """Films without anything wrong: a patient each, half of them sick, in all splits."""
    films = []
    for place in range(4 * _SLICE):
        labels = _SICK if place % 8 < 4 else {NO_FINDING: 1}
        films.append(
            data.Film(data.drawn(place), f'{place:08d}_000.png', SPLITS[place % 4], labels=labels)
        )
    return films


def _planted() -> list[data.Film]:
    def film(number: int, image: bytes, split: str = 'train', **more: Any) -> data.Film:
        return data.Film(image, f'{number:08d}_000.png', split, **more)

    truncated = data.drawn(900)[:-3000]
    hole = data.drawn(901)
    hole = hole[: len(hole) // 2] + hole[len(hole) // 2 + 1500 :]
    flat = data.encode(Image.new('L', (600, 600), 90))
    grey = data.opened(data.drawn(902))
    return [
        film(900, truncated),
        film(901, hole),
        film(902, _image(902, lambda one: one.resize((512, 600))), 'val'),
        film(903, _image(903, lambda one: one.convert('RGB'))),
        film(904, data.encode(data.opened(data.drawn(904)), format='PNG', quality=None)),
        film(905, flat),
        film(906, _image(906, lambda one: one.point(lambda value: 255 if value > 130 else value))),
        film(907, _image(907, lambda one: one.point(lambda value: 110 + value // 8))),
        film(908, _image(908, lambda one: one.point(lambda value: 255 - value))),
        film(909, data.drawn(0), 'train'),  # the same file as patient 0 of train
        film(910, data.drawn(1), 'test'),  # the same file as patient 1 of val
        film(911, _image(5, quality=60), 'train'),  # patient 5 is in val
        film(912, data.drawn(912), 'train'),
        data.Film(data.drawn(913), '00000912_001.png', 'test'),
        film(914, data.drawn(914), labels={NO_FINDING: 1, 'Mass': 1}),
        film(915, data.drawn(915), labels={}),
        data.Film(data.drawn(916), None, 'train', patient='x916'),
        data.Film(data.drawn(917), 'free-form.png', 'train'),
        film(918, data.drawn(918), age=-1, view='unknown'),
        film(919, data.encode(Image.fromarray(np.asarray(grey)[:1, :1]))),
        film(920, b'no image'),
        film(921, bad_images.cut_and_closed(data.drawn(921, progressive=True))),
        film(922, bad_images.png(np.asarray(data.opened(data.drawn(922))), rows=300)),
        film(
            923,
            data.encode(
                Image.fromarray(np.asarray(grey).astype(np.uint16) << 4), format='PNG', quality=None
            ),
        ),
        film(924, _image(924, lambda one: one.point(lambda value: value // 21))),
    ]


@pytest.fixture(scope='module')
def planted(tmp_path_factory) -> tuple[dict, str, Path]:
    folder = tmp_path_factory.mktemp('planted')
    examples = data.write_examples(folder / 'examples', [*_plain(), *_planted()])
    report = data.run_audit(folder / 'audit', examples, max_pixels=400_000)
    return (
        json.loads((folder / 'audit/audit.json').read_text()),
        (folder / 'audit/audit.html').read_text(),
        Path(report.uri),
    )


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
def test_finds_planted_images_and_nothing_else(planted, kind, images):
    issue = _issue(planted[0], kind)
    assert {example['image_id'] for example in issue['examples']} == images
    assert issue['count'] == len(issue['examples']) == sum(issue['splits'].values())
    assert issue['total'] == 4 * _SLICE + len(_planted())
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
def test_finds_planted_copies_and_nothing_else(planted, kind, pairs):
    issue = _issue(planted[0], kind)
    found = {
        (example['image_id'], *(other['image_id'] for other in example['with']))
        for example in issue['examples']
    }
    assert found == pairs
    assert issue['count'] == 2 * len(pairs)


def test_finds_the_patient_in_two_splits(planted):
    issue = _issue(planted[0], 'patient_in_two_splits')
    assert (issue['count'], issue['unit']) == (1, 'patients')
    assert issue['total'] == planted[0]['patients']
    (example,) = issue['examples']
    assert example['patient'] == '00000912'
    assert {image['split'] for image in example['images']} == {'train', 'test'}


def test_every_kind_is_reported(planted):
    assert [issue['kind'] for issue in planted[0]['issues']] == list(KINDS)
    for kind in (
        'too_large',
        'empty_split',
        'single_class_split',
        'prevalence_shift',
        'source_predicts_label',
    ):
        assert _issue(planted[0], kind)['count'] == 0


def test_page_is_self_contained(planted):
    page = planted[1]
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,|#)', page)
    assert '@import' not in page
    assert 'url(' not in page
    assert '<script' not in page
    for issue in planted[0]['issues']:
        assert (f'id="{issue["kind"]}"' in page) == bool(issue['count'])
    assert page.count('src="data:image/jpeg') >= 20
    assert 'does not decode' in page


def test_examples_point_to_the_record(planted, tmp_path):
    audit, _, uri = planted
    (example,) = _issue(audit, 'inverted_polarity')['examples']
    path = uri.parent / 'examples' / f'Split-{example["split"]}' / example['file']
    payload = next(
        item.payload for item in tfrecord.read(str(path)) if item.index == example['record']
    )
    assert example['image_id'].encode() in payload


def test_text_from_the_data_is_escaped(tmp_path):
    film = data.Film(data.drawn(1)[:-3000], '<script>alert(1)</script>', 'train')
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', [film]))
    page = (tmp_path / 'audit/audit.html').read_text()
    assert '<script>' not in page
    assert '&lt;script&gt;' in page


def test_no_examples_at_all_is_an_issue_and_no_crash(tmp_path):
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', []))
    audit = json.loads((tmp_path / 'audit/audit.json').read_text())
    assert audit['images'] == 0
    assert _issue(audit, 'empty_split')['count'] == 4


def test_split_with_one_class(tmp_path):
    films = [
        data.Film(data.drawn(place), f'{place:08d}_000.png', 'val', labels=_SICK)
        for place in range(3)
    ]
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', films, ('val',)))
    issue = _issue(json.loads((tmp_path / 'audit/audit.json').read_text()), 'single_class_split')
    assert [example['split'] for example in issue['examples']] == ['val']


def test_shortcuts_and_shifts_are_seen(tmp_path):
    def films(split: str, count: int, sick: int, first: int) -> list[data.Film]:
        found = []
        for place in range(count):
            labels, quality, view = (
                (_SICK, 40, 'AP') if place < sick else ({NO_FINDING: 1}, 92, 'PA')
            )
            number = first + place
            image = data.drawn(number % 16, quality=quality)
            found.append(data.Film(image, f'{number:08d}_000.png', split, labels=labels, view=view))
        return found

    examples = data.write_examples(
        tmp_path / 'examples',
        [*films('train', 80, 60, 0), *films('test', 80, 20, 200)],
        ('train', 'test'),
    )
    data.run_audit(tmp_path / 'audit', examples)
    audit = json.loads((tmp_path / 'audit/audit.json').read_text())
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
    examples = data.write_examples(tmp_path / 'examples', _plain()[:8], SPLITS)
    path = next((tmp_path / 'examples/Split-train').iterdir())
    path.write_bytes(path.read_bytes()[:-1000])
    data.run_audit(tmp_path / 'audit', examples)
    issue = _issue(json.loads((tmp_path / 'audit/audit.json').read_text()), 'undecodable')
    assert issue['count'] == 1
    assert 'the file ends inside this record' in issue['examples'][0]['detail']


def test_a_task_label_that_no_example_has_is_refused(tmp_path):
    examples = data.write_examples(tmp_path / 'examples', _plain()[:4])
    with pytest.raises(DataAuditError, match=r"'abnorml'.*abnormal, age"):
        data.run_audit(tmp_path / 'audit', examples, task_label='abnorml')


@pytest.mark.parametrize(
    'parameters', [{'widht': 600}, {'width': 0}, {'format': 'GIF'}, {'source_auc': 0.4}], ids=str
)
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        AuditParameters.model_validate_json(json.dumps(parameters))


def test_component():
    audit = DataAudit(Channel(type=standard_artifacts.Examples), '{"width": 512}', 'abc')
    assert audit.exec_properties == {'parameters': '{"width": 512}', 'code_digest': 'abc'}
    assert audit.outputs['audit'].type_name == 'components.DataAuditReport'


@pytest.mark.real_data
@pytest.mark.slow
def test_real_films(real_data, tmp_path):
    films = data.real_films(real_data)
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', films))
    audit = json.loads((tmp_path / 'audit/audit.json').read_text())
    assert (audit['images'], audit['decoded'], audit['patients']) == (1948, 1948, 1468)
    found = {issue['kind']: issue for issue in audit['issues'] if issue['count']}
    # These two films really are negatives; the size of the file predicts the label, and so does the
    # view.
    assert set(found) == {'inverted_polarity', 'source_predicts_label', 'source_prevalence'}
    assert {example['image_id'] for example in found['inverted_polarity']['examples']} == {
        '00017999_000.png',
        '00017625_000.png',
    }
    assert [example['statistic'] for example in found['source_predicts_label']['examples']] == [
        'file size'
    ]


@pytest.mark.real_data
@pytest.mark.slow
def test_inverted_real_films_are_found(real_data, tmp_path):
    films = data.real_films(real_data, files=3)
    for film in films:
        film.image = data.encode(data.opened(film.image).point(lambda value: 255 - value))
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', films))
    issue = _issue(json.loads((tmp_path / 'audit/audit.json').read_text()), 'inverted_polarity')
    assert issue['share'] >= 0.99


def test_images_are_decoded_ahead_and_handed_on_in_order() -> None:
    taken: list[int] = []

    def items():
        for number in range(5 * reading._AHEAD):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(3) as pool:
        squares = reading._ahead(pool, lambda number: number**2, items())
        assert next(squares) == 0
        assert len(taken) == reading._AHEAD
        assert list(squares) == [number**2 for number in range(1, 5 * reading._AHEAD)]
        with pytest.raises(ZeroDivisionError):
            list(reading._ahead(pool, lambda number: 1 // number, iter([1, 0])))


def test_parts_in_any_order_make_the_table_of_all() -> None:
    shards = [reading.Shard(number, SPLITS[number], f'/{number}') for number in range(3)]
    records = [
        reading.ImageRecord(
            *(
                shard.number,
                index,
                f'{index:08d}_000.png',
                str(index),
                50,
                'F',
                'PA',
                (0,) * 15,
                index % 2,
                100,
                None,
            ),
            features=('image',) if index == 0 else (),
        )
        for shard in shards
        for index in range(5)
    ]
    whole = table.build(records, shards)
    mixed = [
        table.build(part, shards) for part in ([], records[9:], records[4:9], records[:4][::-1])
    ]
    joined = table.concatenate(mixed)
    for each in fields(table.Table):
        one, other = getattr(whole, each.name), getattr(joined, each.name)
        if each.name == 'number':
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
        elif isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        else:
            assert one == other
    assert len(table.concatenate([table.build([], shards)])) == 0


def test_the_parts_are_gone_afterwards(tmp_path: Path) -> None:
    data.run_audit(tmp_path / 'audit', data.write_examples(tmp_path / 'examples', _plain()))
    assert sorted(path.name for path in tmp_path.rglob('*') if path.name == 'parts') == []
