"""XrayExampleGen writes every record to one split or to quarantine.

Patients stay together, and each example has the expected features.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.xray_example_gen import shard
from components.xray_example_gen.parameters import DataParameters
from components.xray_example_gen.report import IngestError, merge
from records import tfrecord
from records.data_root import DataRootError, find_files, fingerprint
from records.examples import build
from records.layout import TABLE
from records.metadata import MetadataError
from records.origin import TRUTH_NAME
from schemas.features import (
    AGE,
    AGE_BAND,
    FOLLOW_UP,
    IMAGE,
    IMAGE_ID,
    PATIENT_ID,
    SEX,
    SPLITS,
    UNKNOWN,
    VIEW,
    WEIGHT,
)
from schemas.labels import LABELS, NO_FINDING, OTHER
from tests.support import bad_images
from tests.support import ingestion_data as data
from tests.support.ingestion_data import Ingested, ingest
from trainer.tasks import TASKS

LABEL = TASKS['nih_triage'].label


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.write_root(tmp_path_factory.mktemp('root'))


@pytest.fixture(scope='module')
def good(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """The output for good records without a metadata table."""
    return ingest(root, tmp_path_factory.mktemp('good'))


def test_every_record_is_in_one_split(good: Ingested) -> None:
    examples = good.examples()
    expected = {
        data.image_id(patient, study)
        for patient in range(1, 61)
        for study in range(2 - patient % 2)
    }
    assert set(examples) == expected
    report = good.report
    assert (
        report['records_in'],
        report['records_out'],
        report['quarantined'],
        report['patients'],
    ) == (90, 90, 0, 60)
    assert {split: report['splits'][split]['records'] for split in SPLITS} == {
        split: sum(row['split'] == split for row in examples.values()) for split in SPLITS
    }
    assert good.quarantine == []


def test_a_patient_is_in_one_split_only(good: Ingested) -> None:
    splits_of_patient: dict[str, set[str]] = {}
    for row in good.examples().values():
        splits_of_patient.setdefault(row[PATIENT_ID], set()).add(row['split'])
    assert all(len(splits) == 1 for splits in splits_of_patient.values())
    assert {split for splits in splits_of_patient.values() for split in splits} == set(SPLITS)


def test_examples_have_the_labels_and_the_image_of_their_record(good: Ingested) -> None:
    for name, row in good.examples().items():
        patient, study = int(name[:8]), int(name[9:12])
        assert row[IMAGE] == data.image(patient * 10 + study)
        assert {label: row[label] for label in LABELS} == dict.fromkeys(LABELS, 0) | data.labels(
            patient
        )
        assert row[LABEL] == 1 - row[NO_FINDING]


def test_the_report_counts_the_examples_of_each_split(good: Ingested) -> None:
    rows = good.examples().values()
    for split in SPLITS:
        counts = good.report['splits'][split]
        split_rows = [row for row in rows if row['split'] == split]
        assert counts['positives'] == sum(row[LABEL] for row in split_rows)
        assert counts['patients'] == len({row[PATIENT_ID] for row in split_rows})
        assert counts['labels'] == {
            name: total
            for name in sorted({*LABELS, LABEL})
            if (total := sum(row[name] for row in split_rows))
        }


def test_the_report_counts_the_origins_of_the_images(
    root: Path, good: Ingested, tmp_path: Path
) -> None:
    """Images with ids of the NIH form are synthetic if the table of `synth` is next to them."""
    assert (good.report['origins'], good.report['mislabelled']) == ({'other': 90}, 0)
    copy, images = tmp_path / 'root', good.examples()
    shutil.copytree(root, copy)
    data.write_table(copy, dict.fromkeys(images, ('40', 'F', 'PA')))
    assert ingest(copy, tmp_path / 'with the table', metadata=TABLE).report['origins'] == {
        'nih': 90
    }
    rows = [f'{name},Mass,{"Edema" if name.startswith("00000006") else "Mass"}' for name in images]
    drawn = tmp_path / 'drawn root'
    shutil.copytree(copy, drawn)
    (drawn / TABLE).with_name(TRUTH_NAME).write_bytes(
        gzip.compress('\n'.join(['Image Index,Drawn,Labelled', *rows]).encode())
    )
    report = ingest(drawn, tmp_path / 'drawn', metadata=TABLE).report
    assert (report['origins'], report['mislabelled']) == ({'synthetic': 90}, 2)


def test_without_a_table_all_metadata_are_unknown(good: Ingested) -> None:
    row = good.examples()[data.image_id(3)]
    assert (row[PATIENT_ID], row[AGE], row[AGE_BAND], row[SEX], row[VIEW], row[FOLLOW_UP]) == (
        '00000003',
        -1,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        -1,
    )


def test_tensorflow_reads_the_output(good: Ingested) -> None:
    spec = {IMAGE: tf.io.FixedLenFeature([], tf.string), LABEL: tf.io.FixedLenFeature([], tf.int64)}
    files = tf.io.gfile.glob(str(good.folder / 'examples' / 'Split-train' / '*'))
    examples = [
        tf.io.parse_single_example(serialized, spec)
        for serialized in tf.data.TFRecordDataset(files)
    ]
    assert len(examples) == good.report['splits']['train']['records']
    assert tf.io.decode_image(examples[0][IMAGE]).shape == (72, 72, 1)


def test_the_output_is_reproducible_and_the_split_depends_on_the_seed(
    root: Path, good: Ingested, tmp_path: Path
) -> None:
    again = ingest(root, tmp_path / 'again')
    assert again.files() == good.files()
    other_seed = ingest(root, tmp_path / 'other', split={'fractions': data.FRACTIONS, 'seed': 1})
    assert {name: row['split'] for name, row in other_seed.examples().items()} != {
        name: row['split'] for name, row in good.examples().items()
    }


def test_patients_keep_their_splits_when_the_data_grow(
    root: Path, good: Ingested, tmp_path: Path
) -> None:
    larger_root = data.write_root(tmp_path / 'root', patients=90)
    before = {row[PATIENT_ID]: row['split'] for row in good.examples().values()}
    after = {
        row[PATIENT_ID]: row['split']
        for row in ingest(larger_root, tmp_path / 'out').examples().values()
    }
    assert before.items() < after.items()


# Unusable records: case -> (record, kind of problem, part of the reason).
JPEG = data.image(1)
TINY, HUGE = (
    data.image(1, side=1),
    JPEG.replace(b'\x00\x48\x00\x48\x01\x01', b'\x4e\x20\x4e\x20\x01\x01'),
)
DEEP, SHORT = (
    bad_images.UNSUPPORTED['PNG of 16 bits, 12 in use'],
    bad_images.png(bad_images.PIXELS[:65], rows=32),
)
NORMAL = {NO_FINDING: 1}


def _without(name: str) -> bytes:
    example = tf.train.Example.FromString(build(JPEG, data.image_id(201), NORMAL))
    del example.features.feature[name]
    return example.SerializeToString()


BAD = {
    'no Example': (b'\xff\xffnothing', 'invalid_record', 'not a tf.train.Example'),
    'an empty record': (b'', 'invalid_record', 'not a tf.train.Example'),
    'no image': (_without(IMAGE), 'invalid_record', "feature 'image' is missing"),
    'an empty image': (
        build(b'', data.image_id(201), NORMAL),
        'invalid_record',
        "feature 'image' is empty",
    ),
    'a missing label': (_without('Mass'), 'invalid_record', "feature 'Mass' is missing"),
    'a label of 7': (
        build(JPEG, data.image_id(201), {'Mass': 7}),
        'invalid_record',
        "label 'Mass' is 7: expected 0 or 1",
    ),
    'a truncated JPEG': (
        build(JPEG[:-40], data.image_id(201), NORMAL),
        'truncated',
        'the image cannot be used: it is cut off',
    ),
    'an unknown image format': (
        build(b'text', data.image_id(201), NORMAL),
        'undecodable',
        'the image cannot be used: not a JPEG or PNG',
    ),
    '1x1': (
        build(TINY, data.image_id(201), NORMAL),
        'too_small',
        'it has 1x1 pixels: expected at least 64',
    ),
    '20,000x20,000': (
        build(HUGE, data.image_id(201), NORMAL),
        'too_large',
        'it has 20000x20000 pixels: expected at most 8192',
    ),
    '16 bits': (
        build(DEEP, data.image_id(201), NORMAL),
        'unsupported',
        '`cxr-triage convert` makes such an image from the original',
    ),
    'a PNG with fewer rows': (
        build(SHORT, data.image_id(201), NORMAL),
        'truncated',
        '5,152 of the 10,465 bytes of its 65 rows',
    ),
    'not in the table': (
        build(JPEG, data.image_id(999), NORMAL),
        'not_in_metadata',
        "no row for image '00000999_000.png'",
    ),
    'another form of image_id': (
        build(JPEG, 'scan7.png', NORMAL),
        'not_in_metadata',
        "no row for image 'scan7.png'",
    ),
}
# Records that are unusual but usable.
USABLE = {
    'PNG': build(data.image(2, kind='PNG'), data.image_id(301), NORMAL),
    'RGB': build(data.image(3, mode='RGB'), data.image_id(302), NORMAL),
    'no image_id': build(data.image(4), None, NORMAL),
    'an unknown feature': tf.train.Example.FromString(
        build(data.image(5), data.image_id(303), NORMAL)
    ),
}
USABLE['an unknown feature'].features.feature['scanner'].bytes_list.value[:] = [b'X']
USABLE['an unknown feature'] = USABLE['an unknown feature'].SerializeToString()
# Patient -> (age, sex, view position); the others get usual values.
METADATA = {
    1: ('58', 'M', 'PA'),
    2: ('017', 'F', 'AP'),
    3: ('080Y', '', 'LL'),
    4: ('150', 'X', 'PA'),
}


@pytest.fixture(scope='module')
def messy(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """The output for good and bad records, damaged files and a metadata table, without a limit."""
    root = data.write_root(tmp_path_factory.mktemp('messy'))
    bad = [payload for payload, _, _ in BAD.values()]
    data.write_file(root / 'data' / f'100-{len(bad)}.tfrec', bad)
    data.write_file(root / 'data' / '101-9.tfrec', USABLE.values())
    (root / 'data' / '102-5.tfrec').write_bytes(b'')
    frames = [tfrecord.frame(data.record(patient)) for patient in (61, 63, 65)]
    (root / 'data' / '103-3.tfrec').write_bytes(b''.join(frames)[:-50])
    flipped = bytearray(b''.join(tfrecord.frame(data.record(patient)) for patient in (67, 69, 71)))
    flipped[len(tfrecord.frame(data.record(67))) + 100] ^= 1
    (root / 'data' / '104-3.tfrec').write_bytes(bytes(flipped))
    rows = {
        data.image_id(patient, study): METADATA.get(patient, ('44', 'F', 'PA'))
        for patient in range(1, 400)
        for study in (0, 1)
    }
    data.write_table(root, rows)
    return ingest(
        root, tmp_path_factory.mktemp('messy_out'), metadata=TABLE, max_quarantine_share=1.0
    )


@pytest.mark.parametrize(('index', 'name'), list(enumerate(BAD)), ids=list(BAD))
def test_a_bad_record_goes_into_quarantine_with_its_reason(
    index: int, name: str, messy: Ingested
) -> None:
    payload, kind, reason = BAD[name]
    (row,) = [
        row
        for row in messy.quarantine
        if row['file'] == f'data/100-{len(BAD)}.tfrec' and row['record'] == index
    ]
    assert row['kind'] == kind
    assert reason in row['reason']
    assert row['bytes'] == len(payload)
    assert row['offset'] == sum(
        len(tfrecord.frame(previous)) for previous, _, _ in list(BAD.values())[:index]
    )


def test_quarantine_holds_the_bytes_of_the_records(messy: Ingested) -> None:
    (path,) = (messy.folder / 'quarantine').glob('records.tfrecord-00003-of-*')
    assert [item.payload for item in tfrecord.read(str(path))] == [
        payload for payload, _, _ in BAD.values()
    ]


@pytest.mark.parametrize(
    ('file', 'count', 'reason'),
    [
        ('data/102-5.tfrec', 1, 'the file is empty'),
        ('data/103-3.tfrec', 1, 'the file ends inside this record'),
        ('data/104-3.tfrec', 1, 'the checksum (CRC-32C) of the payload does not match'),
    ],
    ids=['empty', 'truncated', 'flipped byte'],
)
def test_damage_in_a_file_goes_into_quarantine(
    file: str, count: int, reason: str, messy: Ingested
) -> None:
    rows = [row for row in messy.quarantine if row['file'] == file]
    assert len(rows) == count
    assert reason in rows[0]['reason']
    assert rows[0]['kind'] == 'damaged_record'


def test_damage_affects_no_other_record(messy: Ingested) -> None:
    ids = set(messy.examples())
    assert {data.image_id(patient) for patient in (61, 63, 67, 71)} <= ids
    assert not {data.image_id(65), data.image_id(69)} & ids


def test_records_in_are_records_out_and_quarantine(messy: Ingested) -> None:
    report = messy.report
    assert report['records_out'] == 90 + len(USABLE) + 4 == len(messy.examples())
    assert report['quarantined'] == len(BAD) + 3 == len(messy.quarantine)
    assert report['records_in'] == report['records_out'] + report['quarantined']
    assert report['quarantined_by_kind'] == {
        **{'invalid_record': 6, 'not_in_metadata': 2, 'damaged_record': 3},
        **{'truncated': 2, 'undecodable': 1, 'too_small': 1, 'too_large': 1, 'unsupported': 1},
    }


def test_files_with_another_count_than_their_name_says_are_in_the_report(messy: Ingested) -> None:
    counts = {
        row['file']: (row['promised'], row['held'])
        for row in messy.report['files']
        if row['promised'] != row['held']
    }
    assert counts == {
        'data/101-9.tfrec': (9, 4),
        'data/102-5.tfrec': (5, 0),
        'data/103-3.tfrec': (3, 2),
        'data/104-3.tfrec': (3, 2),
    }


@pytest.mark.parametrize(
    ('name', 'note'),
    [('PNG', 'wrong_format'), ('RGB', 'wrong_channels'), ('no image_id', 'missing_image_id')],
)
def test_an_unusual_record_is_ingested_and_noted(name: str, note: str, messy: Ingested) -> None:
    image = tf.train.Example.FromString(USABLE[name]).features.feature[IMAGE].bytes_list.value[0]
    assert image in [row[IMAGE] for row in messy.examples().values()]
    assert messy.report['notes'][note] == 1


def test_a_record_without_image_id_is_named_by_file_and_index(messy: Ingested) -> None:
    row = messy.examples()['data/101-9.tfrec#2']
    assert row[PATIENT_ID].startswith('sha256:')
    assert (row[AGE], row[SEX]) == (-1, UNKNOWN)


def test_examples_have_only_the_features_of_the_schema(messy: Ingested) -> None:
    expected = {
        IMAGE,
        IMAGE_ID,
        PATIENT_ID,
        AGE,
        AGE_BAND,
        SEX,
        VIEW,
        FOLLOW_UP,
        WEIGHT,
        LABEL,
        *LABELS,
        OTHER,
        'split',
    }
    assert all(set(row) == expected for row in messy.examples().values())


@pytest.mark.parametrize(
    ('patient', 'expected'),
    [
        (1, {AGE: 58, AGE_BAND: '40-59', SEX: 'M', VIEW: 'PA', FOLLOW_UP: 3}),
        (2, {AGE: 17, AGE_BAND: '00-17', SEX: 'F', VIEW: 'AP'}),
        (3, {AGE: 80, AGE_BAND: '80+', SEX: UNKNOWN, VIEW: UNKNOWN}),
        (4, {AGE: -1, AGE_BAND: UNKNOWN, SEX: UNKNOWN, VIEW: 'PA'}),
    ],
    ids=['known', 'young', 'sex and view unknown', 'impossible age'],
)
def test_metadata_is_joined(patient: int, expected: dict[str, Any], messy: Ingested) -> None:
    row = messy.examples()[data.image_id(patient)]
    assert {name: row[name] for name in expected} == expected


def test_splits_contain_only_record_files(messy: Ingested) -> None:
    """TFX reads every file of a split, including hidden ones."""
    names = [
        path.name
        for split in SPLITS
        for path in (messy.folder / 'examples' / f'Split-{split}').iterdir()
    ]
    assert all(re.fullmatch(r'data_tfrecord-\d{5}-of-00008', name) for name in names)
    assert sorted(path.name for path in (messy.folder / 'report').iterdir()) == ['ingest.json']


def test_without_a_table_another_form_of_image_id_needs_a_pattern(tmp_path: Path) -> None:
    root = data.write_root(tmp_path / 'root')
    data.write_file(root / 'more.tfrec', [build(JPEG, 'scan7.png', NORMAL)])
    (row,) = ingest(root, tmp_path / 'none', max_quarantine_share=1.0).quarantine
    assert (row['kind'], row['image_id']) == ('missing_patient', 'scan7.png')
    assert 'patient_id_pattern' in row['reason']
    examples = ingest(root, tmp_path / 'pattern', patient_id_pattern=r'^scan(\d+)').examples()
    assert examples['scan7.png'][PATIENT_ID] == '00000007'


def test_a_list_can_exclude_images(root: Path, tmp_path: Path) -> None:
    (tmp_path / 'exclude.txt').write_text(f'{data.image_id(5)}\n')
    output = ingest(
        root, tmp_path / 'out', exclude=str(tmp_path / 'exclude.txt'), max_quarantine_share=1.0
    )
    assert [(row['kind'], row['image_id']) for row in output.quarantine] == [
        ('excluded', data.image_id(5))
    ]


def test_missing_metadata_keep_ingests_images_that_are_not_in_the_table(
    root: Path, tmp_path: Path
) -> None:
    data.write_table(tmp_path, {data.image_id(1): ('58', 'M', 'PA')})
    output = ingest(root, tmp_path / 'out', metadata=str(tmp_path / TABLE), missing_metadata='keep')
    assert (output.report['quarantined'], output.report['notes']['not_in_metadata']) == (0, 89)


def test_zipped_files_and_unusual_names_are_read(
    root: Path, good: Ingested, tmp_path: Path
) -> None:
    names = ('000-30.TFREC', '001-30.tfrec.gz', os.fsdecode(b'gr\xfc\xdf-30.tfrecords'))
    for number, path in enumerate(sorted(root.rglob('*.tfrec'))):
        payloads = [item.payload for item in tfrecord.read(str(path))]
        data.write_file(tmp_path / 'root' / 'data' / names[number], payloads, zipped=number < 2)
    data.write_file(tmp_path / 'root' / os.fsdecode(b'\xe9-1.tfrecord'), [USABLE['no image_id']])
    output = ingest(tmp_path / 'root', tmp_path / 'out')
    assert output.examples().keys() == good.examples().keys() | {r'\xe9-1.tfrecord#0'}
    assert [file['file'] for file in output.report['files']] == [
        r'\xe9-1.tfrecord',
        'data/000-30.TFREC',
        'data/001-30.tfrec.gz',
        r'data/gr\xfc\xdf-30.tfrecords',
    ]


@pytest.fixture(scope='module')
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('spans')
    for span in (1, 2, 10):
        data.write_root(root, first=100 * span, files=1, folder=f'span-{span}')
    return root


@pytest.mark.parametrize(
    ('selection', 'expected'), [('all', {1, 2, 10}), ('latest', {10}), ([1, 10], {1, 10})], ids=str
)
def test_only_the_selected_spans_are_read(
    selection: Any, expected: set[int], spans: Path, tmp_path: Path
) -> None:
    examples = ingest(spans, tmp_path, spans=selection).examples()
    assert {int(row[PATIENT_ID]) // 100 for row in examples.values()} == expected


def test_a_missing_span_is_named(spans: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataRootError, match=r'no files for span \[3\]; the data root has spans \[1, 2, 10\]'
    ):
        ingest(spans, tmp_path, spans=[1, 3])


def _official_split(root: Path, test: range, train_val: range) -> dict[str, Any]:
    """Writes the two official lists and returns the configuration of the split."""
    for name, patients in (('test', test), ('train_val', train_val)):
        ids = [data.image_id(patient, study) for patient in patients for study in (0, 1)]
        (root / f'{name}.txt').write_text('\n'.join(ids))
    return {
        'fractions': data.FRACTIONS,
        'method': 'official',
        'test_list': str(root / 'test.txt'),
        'train_val_list': str(root / 'train_val.txt'),
    }


def test_the_official_split_follows_the_lists(root: Path, tmp_path: Path) -> None:
    split = _official_split(tmp_path, range(1, 21), range(21, 60))
    output = ingest(root, tmp_path / 'out', split=split, max_quarantine_share=1.0)
    for row in output.examples().values():
        assert (row['split'] == 'test') is (int(row[PATIENT_ID]) <= 20)
    assert {row['image_id'] for row in output.quarantine} == {
        data.image_id(60),
        data.image_id(60, 1),
    }
    assert all(
        row['kind'] == 'not_in_split_lists' and 'neither official list' in row['reason']
        for row in output.quarantine
    )


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        pytest.param(
            lambda split, folder: split,
            MetadataError,
            '1 patients are in both the train_val list and the test list, e.g. 00000020',
        ),
        pytest.param(
            lambda split, folder: split | {'test_list': str(folder / 'gone.txt')},
            DataRootError,
            r'data\.split\.test_list.*gone\.txt: no such file',
        ),
    ],
    ids=['a patient in both lists', 'a list is missing'],
)
def test_unusable_official_lists_are_refused(
    change: Callable, error: type, message: str, root: Path, tmp_path: Path
) -> None:
    split = change(_official_split(tmp_path, range(1, 21), range(20, 61)), tmp_path)
    with pytest.raises(error, match=message):
        ingest(root, tmp_path / 'out', split=split)


def test_side_files_are_found_by_their_usual_names(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / 'root'
    shutil.copytree(root, copy)
    data.write_table(
        copy,
        {
            data.image_id(patient, study): ('58', 'M', 'PA')
            for patient in range(1, 61)
            for study in (0, 1)
        },
    )
    (copy / 'metadata' / 'Data_Entry_2017_v2020.csv.gz').rename(
        copy / 'data' / 'Data_Entry_2017.csv.gz'
    )
    for name, patients in (('test', range(1, 21)), ('train_val', range(21, 61))):
        ids = [data.image_id(patient, study) for patient in patients for study in (0, 1)]
        (copy / f'{name}_list.txt').write_text('\n'.join(ids))
    output = ingest(
        copy,
        tmp_path / 'out',
        metadata='auto',
        split={'fractions': data.FRACTIONS, 'method': 'official'},
    )
    assert output.report['table']['path'] == str(copy / 'data' / 'Data_Entry_2017.csv.gz')
    examples = output.examples().values()
    assert {row[SEX] for row in examples} == {'M'}
    assert {int(row[PATIENT_ID]) for row in examples if row['split'] == 'test'} == set(range(1, 21))
    assert output.report['ignored_files'] == {}


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        pytest.param(lambda root: None, r'not a directory.*--data-root', id='no root'),
        pytest.param(
            lambda root: root.mkdir(),
            r'no file matches .*\*\.tfrec.*cxr-triage convert',
            id='empty root',
        ),
        pytest.param(
            lambda root: data.write_file(root / 'a.csv', []), 'no file matches', id='other files'
        ),
        pytest.param(
            lambda root: data.write_file(root / '.trash' / 'a.tfrec', []),
            'no file matches',
            id='hidden files',
        ),
    ],
)
def test_a_root_without_record_files_is_refused(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / 'root')
    with pytest.raises(DataRootError, match=message):
        ingest(tmp_path / 'root', tmp_path / 'out')


def _write_a_bad_record(root: Path) -> None:
    data.write_root(root)
    data.write_file(root / 'data' / '100-1.tfrec', [b'\xff\xffnothing'])


def _write_one_class(root: Path) -> None:
    data.write_file(
        root / 'data' / '000-40.tfrec', [data.record(patient) for patient in range(1, 81, 2)]
    )


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        pytest.param(
            _write_a_bad_record,
            r'(?s)1 of 91 records cannot be used \(1\.10%; allowed 1\.00%.*100-1\.tfrec, record 0 '
            r'\(byte 0\): not a',
            id='share',
        ),
        pytest.param(
            lambda root: data.write_root(root, patients=2),
            r"split '\w+' got no records: .* of 2 patients",
            id='too few patients',
        ),
        pytest.param(
            _write_one_class,
            r"split 'train' holds no records with abnormal=1 .*each split needs both classes",
            id='one class',
        ),
    ],
)
def test_records_that_cannot_train_a_model_are_refused_but_reported(
    make: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    make(tmp_path / 'root')
    with pytest.raises(IngestError, match=message):
        ingest(tmp_path / 'root', tmp_path / 'out')
    output = Ingested(tmp_path / 'out')
    assert output.report['quarantined'] == len(output.quarantine)


def test_a_file_that_disappears_after_the_run_started_stops_it(tmp_path: Path) -> None:
    root = data.write_root(tmp_path / 'root')
    at_start = fingerprint(str(root), find_files(str(root)))
    (root / 'data' / '001-30.tfrec').rename(tmp_path / 'elsewhere')
    with pytest.raises(
        DataRootError, match=r'had 3 record files .* has 2 .* data/000-30.tfrec, data/002-30.tfrec'
    ):
        ingest(root, tmp_path / 'out', fingerprint=at_start)
    (tmp_path / 'elsewhere').rename(root / 'data' / '001-30.tfrec')
    assert ingest(root, tmp_path / 'out', fingerprint=at_start).report['records_in'] == 90


def test_a_file_replaced_during_the_run_stops_it(tmp_path: Path, monkeypatch) -> None:
    root = data.write_root(tmp_path / 'root')
    at_start = fingerprint(str(root), find_files(str(root)))
    original = shard.IngestShard.process

    def replace_and_process(self, work: shard.Shard):
        data.write_file(root / 'data' / '002-30.tfrec', [data.record(900)])
        yield from original(self, work)

    monkeypatch.setattr(shard.IngestShard, 'process', replace_and_process)
    with pytest.raises(DataRootError, match='changed after the run started'):
        ingest(root, tmp_path / 'out', fingerprint=at_start)


def test_shards_of_an_earlier_attempt_are_deleted(
    root: Path, good: Ingested, tmp_path: Path
) -> None:
    earlier_shard = data.write_file(
        tmp_path / 'out' / 'examples' / 'Split-train' / 'data_tfrecord-00000-of-00009',
        [data.record(900)],
    )
    output = ingest(root, tmp_path / 'out')
    assert not earlier_shard.exists()
    assert output.files().keys() == good.files().keys()


def test_a_lost_record_is_an_error() -> None:
    lost = {
        'name': 'a.tfrec',
        'promised': 3,
        'records_in': 3,
        'records_out': {'train': 2},
        'quarantined': [],
        'notes': {},
    }
    with pytest.raises(
        IngestError,
        match=r'a\.tfrec: 3 records were read, but 2 are in the splits and 0 in quarantine',
    ):
        merge(
            [
                json.dumps(
                    {
                        **lost,
                        'labels': {},
                        'patients': {},
                        'unknown': {},
                        'origins': {},
                        'mislabelled': 0,
                    }
                )
            ],
            'nih_triage',
            LABEL,
        )


def test_files_without_a_usable_record_are_refused(tmp_path: Path) -> None:
    data.write_file(tmp_path / 'root' / 'a.tfrec', [b''])
    with pytest.raises(IngestError, match=r'hold no usable record: a\.tfrec'):
        ingest(tmp_path / 'root', tmp_path / 'out', max_quarantine_share=1.0)


def test_problems_of_the_data_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = data.write_root(tmp_path / 'root')
    (root / 'data' / '000-30.tfrec').rename(root / 'data' / '000-31.tfrec')
    data.write_file(root / 'data' / '100-1.tfrec', [b''])
    (root / 'data' / 'image.dcm').write_bytes(b'')
    rows = {
        data.image_id(patient, study): ('58', 'M', 'PA')
        for patient in range(1, 61)
        for study in (0, 1)
    }
    data.write_table(
        root, rows | {data.image_id(8, 1): ('58', 'O', 'PA'), data.image_id(9): ('58', 'F', '')}
    )
    with caplog.at_level(logging.WARNING, logger='components'):
        output = ingest(root, tmp_path / 'out', max_quarantine_share=0.5, metadata='auto')
    assert 'files that are not read: 1 .dcm' in caplog.messages
    assert (
        f"{root / TABLE}: Patient Sex: neither F nor M: unknown (1 row in line 17: 'O')"
        in caplog.messages
    )
    assert 'unknown values in 90 records: sex 1, view_position 1' in caplog.messages
    assert output.report['unknown'] == {'sex': 1, 'view_position': 1}
    assert 'data/000-31.tfrec: the name promises 31 records, the file holds 30' in caplog.messages
    assert '1 of 91 records are in quarantine (invalid_record: 1)' in caplog.messages


def test_a_failed_bundle_leaves_no_file_and_its_retry_writes_all_records(
    root: Path, tmp_path: Path, monkeypatch
) -> None:
    """Beam processes a bundle again after a worker failed, maybe in the middle of its output."""
    destination = shard.Destination(
        {split: str(tmp_path / split) for split in SPLITS},
        str(tmp_path / 'quarantine'),
        str(tmp_path / 'staging'),
    )
    for folder in (*destination.splits.values(), destination.quarantine, destination.staging):
        Path(folder).mkdir()
    file = sorted(root.rglob('*.tfrec'))[0]
    step = shard.IngestShard(str(root), DataParameters(), '', destination)
    step.setup()
    work = shard.Shard(str(file), file.name, 0, 1)
    count = 0
    original = shard._Writers.write

    def write_ten_then_fail(self, split: str, payload: bytes) -> None:
        nonlocal count
        count += 1
        if count > 10:
            raise ConnectionError('worker lost')
        original(self, split, payload)

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(shard._Writers, 'write', write_ten_then_fail)
        list(step.process(work))
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]
    assert len(list(step.process(work))) == 1
    assert (
        sum(len(list(tfrecord.read(str(path)))) for path in tmp_path.rglob('data_tfrecord*')) == 30
    )
    assert not list((tmp_path / 'staging').iterdir())
