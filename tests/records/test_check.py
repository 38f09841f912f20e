"""`check`: accepts a clean data root, and reports each kind of damage with its place."""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.commands import check as command
from records import layout, tfrecord
from records.examples import build, parse
from records.problems import ERROR, PROBLEMS, WARNING
from schemas import image_status, problem_names
from schemas.labels import LABELS, NO_FINDING, OTHER
from tests.support import bad_images
from tests.support.encoded_images import encode, pixels

COUNT = 12
PER_FILE = 4


def image_of(number: int) -> bytes:
    return encode(np.tile(pixels(60, 60, number), (10, 10)))


IMAGES = [image_of(number) for number in range(COUNT)]


def id_of(number: int) -> str:
    """The image id; each patient has two images."""
    return f'{number // 2 + 1:08d}_{number % 2:03d}.png'


def label_of(number: int) -> str:
    return NO_FINDING if number % 3 == 0 else LABELS[1 + number]


def record(number: int, **changes) -> bytes:
    values = {
        'image': IMAGES[number],
        'image_id': id_of(number),
        'labels': {label_of(number): 1},
        **changes,
    }
    return build(values['image'], values['image_id'], values['labels'])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clean data root: 12 images of 6 patients in 3 files, with all side files."""
    root = tmp_path / 'root'
    for shard in range(COUNT // PER_FILE):
        put(
            root,
            shard,
            [record(number) for number in range(shard * PER_FILE, (shard + 1) * PER_FILE)],
        )
    layout.write_preprocessed(
        root,
        ((f'../input/data/images_001/images/{id_of(n)}', {label_of(n): 1}) for n in range(COUNT)),
    )
    layout.write_table(
        root,
        (
            [id_of(n), label_of(n), n % 2, n // 2 + 1, 50, 'F', 'PA', 600, 600, 0.1, 0.1]
            for n in range(COUNT)
        ),
    )
    (root / 'metadata' / 'train_val_list.txt').write_text('\n'.join(id_of(n) for n in range(8)))
    (root / 'metadata' / 'test_list.txt').write_text('\n'.join(id_of(n) for n in range(8, COUNT)))
    return root


def put(root: Path, shard: int, payloads: list[bytes]) -> None:
    path = shard_path(root, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b''.join(map(tfrecord.frame, payloads)))


def shard_path(root: Path, shard: int) -> Path:
    return root / 'data' / f'{shard:03d}-{PER_FILE}.tfrec'


def change(root: Path, number: int, payload: bytes) -> None:
    """Puts another payload in the place of record `number`."""
    shard, index = divmod(number, PER_FILE)
    payloads = [item.payload for item in tfrecord.read(str(shard_path(root, shard)))]
    payloads[index] = payload
    put(root, shard, payloads)


def check(root: Path, *options: str) -> tuple[int, dict]:
    """Exit code and JSON report."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    report = root.parent / 'report.json'
    code = command.run(
        parser.parse_args(
            ['--data-root', str(root), '--json', str(report), '--workers', '1', *options]
        )
    )
    return code, json.loads(report.read_text())


def kinds_of(report: dict, severity: str = 'error') -> set[str]:
    return {problem['kind'] for problem in report['problems'] if problem['severity'] == severity}


def test_a_clean_data_root(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = check(root, '--pixels')
    assert (code, report['clean'], kinds_of(report)) == (0, True, set())
    assert (
        report['records'],
        report['accepted'],
        report['patients'],
        report['metadata_joined'],
    ) == (12, 12, 6, 12)
    assert report['labels'][NO_FINDING] == 4
    assert report['abnormal'] == 8
    assert report['official_lists'] == {'train_val_list': 8, 'test_list': 4}
    assert 'Clean: 12 records of 6 patients' in capsys.readouterr().out


def _flip(root: Path) -> None:
    path = shard_path(root, 1)
    data = bytearray(path.read_bytes())
    data[len(tfrecord.frame(record(4))) + 100] ^= 1
    path.write_bytes(data)


def _empty(root: Path) -> None:
    shard_path(root, 1).write_bytes(b'')


def _truncate(root: Path) -> None:
    path = shard_path(root, 1)
    path.write_bytes(path.read_bytes()[:-50])


def _cut_between_records(root: Path) -> None:
    put(root, 1, [record(4), record(5), record(6)])


def _drop_from_table(root: Path) -> None:
    layout.write_table(
        root,
        (
            [id_of(n), label_of(n), 0, n // 2 + 1, 50, 'F', 'PA', 1, 1, '', '']
            for n in range(COUNT)
            if n != 5
        ),
    )


def _changed(**changes) -> Callable[[Path], None]:
    return lambda root: change(root, 5, record(5, **changes))


def _without_label(root: Path) -> None:
    put(root, 1, [record(4), record(5).replace(b'Hernia', b'Herni_'), record(6), record(7)])


def _lists_overlap(root: Path) -> None:
    (root / 'metadata' / 'test_list.txt').write_text('\n'.join(id_of(n) for n in range(5, COUNT)))


def _preprocessed(root: Path) -> None:
    layout.write_preprocessed(
        root, ((f'x/{id_of(n)}', {(label_of(n) if n != 5 else 'Edema'): 1}) for n in range(COUNT))
    )


def _one_class(root: Path) -> None:
    for shard in range(3):
        put(
            root,
            shard,
            [
                record(n, labels={'Mass': 1})
                for n in range(shard * PER_FILE, (shard + 1) * PER_FILE)
            ],
        )


BLANK = encode(np.full((600, 600), 9, np.uint8))
AT_5 = ('data/001-4.tfrec', 1, id_of(5))


@pytest.mark.parametrize(
    ('damage', 'expected', 'place', 'message'),
    [
        pytest.param(
            _flip,
            {'damaged_record', 'wrong_record_count', 'preprocessed_csv_differs'},
            ('data/001-4.tfrec', 1, ''),
            'checksum',
            id='flipped byte',
        ),
        pytest.param(
            _empty,
            {'damaged_record', 'wrong_record_count', 'preprocessed_csv_differs'},
            ('data/001-4.tfrec', 0, ''),
            'the file is empty',
            id='zero-byte file',
        ),
        pytest.param(
            _truncate,
            {'damaged_record', 'wrong_record_count', 'preprocessed_csv_differs'},
            ('data/001-4.tfrec', 3, ''),
            'ends inside this record',
            id='truncated',
        ),
        pytest.param(
            _cut_between_records,
            {'wrong_record_count', 'preprocessed_csv_differs'},
            ('data/001-4.tfrec', None, ''),
            'says 4 records, and it holds 3',
            id='fewer',
        ),
        pytest.param(
            lambda root: change(root, 5, b'no Example'),
            {'invalid_record', 'preprocessed_csv_differs'},
            (*AT_5[:2], ''),
            'not a tf.train',
            id='no Example',
        ),
        pytest.param(
            _without_label,
            {'invalid_record', 'preprocessed_csv_differs'},
            (*AT_5[:2], ''),
            "'Hernia' is missing",
            id='missing label',
        ),
        pytest.param(
            _changed(labels={'Mass': 7}),
            {'invalid_record', 'preprocessed_csv_differs'},
            (*AT_5[:2], ''),
            "'Mass' is 7",
            id='label 7',
        ),
        pytest.param(
            _changed(image=encode(pixels(1, 1))), {'too_small'}, AT_5, '1x1 pixels', id='1x1'
        ),
        pytest.param(
            _changed(image=IMAGES[5][:-99]), {'truncated'}, AT_5, 'cut off', id='truncated JPEG'
        ),
        pytest.param(
            _changed(image=bad_images.cut_and_closed(IMAGES[5])),
            {'truncated'},
            AT_5,
            'premature end of data',
            id='JPEG cut and closed',
        ),
        pytest.param(
            _changed(image=encode(pixels(600, 600).astype(np.uint16), 'PNG')),
            {'unsupported'},
            AT_5,
            '16 bits per channel',
            id='16 bits',
        ),
        pytest.param(
            _changed(image=bad_images.png(pixels(), rows=40)),
            {'truncated'},
            AT_5,
            'of its 80 rows',
            id='PNG with fewer rows',
        ),
        pytest.param(_changed(image=BLANK), {'blank'}, AT_5, 'it shows nothing', id='blank image'),
        pytest.param(
            _changed(image=IMAGES[6]),
            {'duplicate_across_patients'},
            ('data/001-4.tfrec', 2, id_of(6)),
            'the same bytes as',
            id='two patients',
        ),
        pytest.param(
            _changed(image_id=id_of(6)),
            {'duplicate_image_id', 'labels_differ_from_metadata', 'preprocessed_csv_differs'},
            None,
            'has the same image_id',
            id='image_id twice',
        ),
        pytest.param(
            _changed(image_id='scan.png'),
            {'not_in_metadata', 'preprocessed_csv_differs'},
            (*AT_5[:2], 'scan.png'),
            'has no row',
            id='foreign image_id',
        ),
        pytest.param(
            _changed(labels={}),
            {'no_label_set', 'labels_differ_from_metadata', 'preprocessed_csv_differs'},
            AT_5,
            'no label is set',
            id='nothing set',
        ),
        pytest.param(
            _changed(labels={NO_FINDING: 1, OTHER: 1}),
            {'contradictory_labels', 'labels_differ_from_metadata', 'preprocessed_csv_differs'},
            AT_5,
            'together with Other',
            id='other finding in a normal image',
        ),
        pytest.param(
            _changed(labels={NO_FINDING: 1, 'Mass': 1}),
            {'contradictory_labels', 'labels_differ_from_metadata', 'preprocessed_csv_differs'},
            AT_5,
            'together with Mass',
            id='both set',
        ),
        pytest.param(
            _changed(labels={'Mass': 1}),
            {'labels_differ_from_metadata', 'preprocessed_csv_differs'},
            AT_5,
            'the record says Mass, the table',
            id='labels differ',
        ),
        pytest.param(
            _drop_from_table,
            {'not_in_metadata'},
            AT_5,
            "no row for image '00000003_001.png'",
            id='missing from the table',
        ),
        pytest.param(
            _lists_overlap,
            {'contradictory_split_lists'},
            ('', None, id_of(5)),
            'train_val_list and in test_list',
            id='lists overlap',
        ),
        pytest.param(
            _preprocessed,
            {'preprocessed_csv_differs'},
            ('preprocessed_data.csv', None, id_of(5)),
            'it says Edema, the record',
            id='CSV differs',
        ),
        pytest.param(
            _one_class,
            {'single_class', 'labels_differ_from_metadata', 'preprocessed_csv_differs'},
            ('', None, ''),
            '12 of 12 records are abnormal',
            id='one class',
        ),
    ],
)
def test_problems_are_reported(
    damage: Callable[[Path], None],
    expected: set[str],
    place: tuple | None,
    message: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(root)
    code, report = check(root, '--pixels')
    assert (code, report['clean']) == (1, False)
    assert kinds_of(report) == expected
    problems = [problem for problem in report['problems'] if message in problem['what']]
    assert problems, report['problems']
    if place:
        assert (problems[0]['file'], problems[0]['record'], problems[0]['key']) == place
    assert all(problem['do'] for problem in report['problems'])
    output = capsys.readouterr().out
    assert 'Not clean' in output


def test_the_report_has_the_byte_offset(root: Path) -> None:
    _flip(root)
    _, report = check(root)
    (problem,) = [problem for problem in report['problems'] if problem['kind'] == 'damaged_record']
    assert problem['offset'] == len(tfrecord.frame(record(4)))


@pytest.mark.parametrize(
    ('damage', 'options', 'kind'),
    [
        pytest.param(_changed(image=IMAGES[4]), [], 'duplicate', id='equal images of one patient'),
        pytest.param(
            _drop_from_table,
            ['--missing-metadata', 'keep'],
            'not_in_metadata',
            id='missing from the table, kept',
        ),
        pytest.param(
            _changed(image=encode(pixels(600, 600), mode='RGB')), [], 'wrong_channels', id='RGB'
        ),
        pytest.param(_changed(image=encode(pixels(600, 600), 'PNG')), [], 'wrong_format', id='PNG'),
        pytest.param(_changed(image=encode(pixels(512, 512))), [], 'wrong_size', id='another size'),
    ],
)
def test_warnings_leave_a_data_root_clean(
    damage: Callable[[Path], None], options: list[str], kind: str, root: Path
) -> None:
    damage(root)
    code, report = check(root, *options)
    assert (code, kinds_of(report)) == (0, set())
    assert kind in kinds_of(report, 'warning')


def _set_cell(column: int, value: str) -> Callable[[Path], None]:
    """Puts a value into the table's line of record 5, which is line 7 of the file."""

    def put_in(root: Path) -> None:
        rows = [
            [id_of(n), label_of(n), n % 2, n // 2 + 1, 50, 'F', 'PA', 600, 600, 0.1, 0.1]
            for n in range(COUNT)
        ]
        rows[5][column] = value
        layout.write_table(root, rows)

    return put_in


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        pytest.param(
            _set_cell(2, str(2**63)),
            f"Follow-up #: not a follow-up number: unknown (1 row in line 7: '{2**63}')",
            id='follow-up',
        ),
        pytest.param(
            _set_cell(5, 'O'),
            "Patient Sex: neither F nor M: unknown (1 row in line 7: 'O')",
            id='sex',
        ),
        pytest.param(
            _set_cell(1, 'Lumbago'),
            "Finding Labels: names that are not labels (1 row in line 7: 'Lumbago')",
            id='finding',
        ),
        pytest.param(
            _set_cell(4, '\x1b[2J'),
            "Patient Age: not an age from 0 to 120: unknown (1 row in line 7: '\\x1b[2J')",
            id='ESC',
        ),
    ],
)
def test_unclear_cells_of_the_table_are_counted(
    damage: Callable, message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(root)
    code, report = check(root)
    assert code == 0
    (problem,) = [
        problem for problem in report['problems'] if problem['kind'] == 'unclear_metadata'
    ]
    assert (problem['what'], problem['key']) == (message, 'line 7')
    assert problem['file'] == str(root / layout.TABLE)
    assert {name: report[name].get('unknown', 0) for name in ('age_band', 'sex')} == {
        'age_band': 'Age' in message,
        'sex': 'Sex' in message,
    }
    assert f'Metadata table: {message}' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('value', ['3.0', '00000003'], ids=['decimal', 'zeros'])
def test_a_patient_in_another_spelling_is_the_same_patient(value: str, root: Path) -> None:
    _set_cell(3, value)(root)
    code, report = check(root)
    assert (code, report['patients'], report['patient_sources']) == (0, 6, {'metadata': 12})
    assert kinds_of(report, 'warning') == {'label_without_positives'}


def test_a_patient_missing_from_the_table_comes_from_the_image_id(root: Path) -> None:
    _set_cell(3, '')(root)
    code, report = check(root)
    assert (code, report['patients'], report['patient_sources']) == (
        0,
        6,
        {'image_id': 1, 'metadata': 11},
    )
    assert report['sex'] == {'F': 12}


def test_record_files_of_all_usual_names_are_read(root: Path) -> None:
    shard_path(root, 1).rename(root / 'data' / f'001-{PER_FILE}.tfrecords')
    shard_path(root, 2).rename(root / 'data' / f'002-{PER_FILE}.TFREC')
    code, report = check(root)
    assert (code, report['records'], [file['promised'] for file in report['files']]) == (
        0,
        12,
        [4, 4, 4],
    )


def test_ignored_files_are_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        (root / 'data' / f'{number}.dcm').write_bytes(b'')
    (root / 'data' / '003-4.tfrec_old').write_bytes(b'')
    (root / 'notes.txt').write_bytes(b'')
    code, report = check(root)
    assert code == 0
    assert report['ignored_files'] == {'.dcm': 20, '.txt': 1, 'without suffix': 1}
    assert 'Not read: 20 .dcm, 1 .txt, 1 without suffix' in capsys.readouterr().out
    (problem,) = [problem for problem in report['problems'] if problem['kind'] == 'ignored_files']
    assert problem['what'] == '20 .dcm'


def test_a_table_that_is_a_folder(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert (
        command.run(
            parser.parse_args(['--data-root', str(root), '--metadata', str(root / 'metadata')])
        )
        == 1
    )
    assert capsys.readouterr().err == f'cxr-triage check: {root / "metadata"}: is a directory\n'


def test_a_record_file_that_is_a_fifo_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(root / 'data' / 'x.tfrec')
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(['--data-root', str(root)])) == 1
    assert 'data/x.tfrec: a FIFO, expected a regular file' in capsys.readouterr().err


def test_control_characters_of_names_and_ids_do_not_reach_the_terminal(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(root, 5, record(5, image_id='\x1b[31m\x9b0m\u202e.png'))
    shard_path(root, 2).rename(root / 'data' / os.fsdecode(b'00\xff\x1b[2J-4.tfrec'))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(['--data-root', str(root), '--workers', '1'])) == 1
    output = capsys.readouterr()
    text = output.out + output.err
    assert not set(text) & set('\x1b\x9b\u202e')
    text = ''.join(line.strip('│┃ ') for line in text.splitlines())
    assert r'00\xff\x1b[2J-4.tfrec' in text
    assert r'\x1b[31m\x9b0m' in text


def test_without_image_ids(tmp_path: Path) -> None:
    put(tmp_path / 'root', 0, [record(n, image_id=None) for n in range(PER_FILE)])
    code, report = check(tmp_path / 'root')
    assert code == 0
    assert {'missing_image_id', 'no_metadata_table'} <= kinds_of(report, 'warning')
    assert report['patients'] == PER_FILE


def test_patients_by_pattern(tmp_path: Path) -> None:
    put(
        tmp_path / 'root',
        0,
        [record(n, image_id=f'person{n // 2}_virus_{n}.png') for n in range(PER_FILE)],
    )
    code, report = check(tmp_path / 'root')
    assert (code, kinds_of(report)) == (1, {'missing_patient'})
    code, report = check(tmp_path / 'root', '--patient-id-pattern', r'^(person\d+)')
    assert (code, report['patients']) == (0, 2)


def test_gzip_files_and_several_workers_give_the_same_report(root: Path) -> None:
    _, plain = check(root)
    for path in sorted((root / 'data').iterdir()):
        path.with_name(path.name + '.gz').write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    code, zipped = check(root, '--workers', '3')
    assert code == 0
    assert [file['name'] for file in zipped['files']] == [
        f'data/{shard:03d}-4.tfrec.gz' for shard in range(3)
    ]
    assert {**zipped, 'files': None} == {**plain, 'files': None}


@pytest.mark.parametrize(
    ('make', 'options', 'message'),
    [
        pytest.param(lambda root: None, [], 'not a directory', id='no data root'),
        pytest.param(lambda root: root.mkdir(), [], 'no file matches', id='empty data root'),
        pytest.param(
            lambda root: put(root, 0, [record(0)]),
            ['--metadata', 'gone.csv'],
            'gone.csv',
            id='table that is not there',
        ),
        pytest.param(
            lambda root: put(root, 0, [record(0)]),
            ['--min-side', '9', '--max-side', '8'],
            'min_side',
            id='sides',
        ),
        pytest.param(
            lambda root: put(root, 0, [record(0)]),
            ['--patient-id-pattern', '('],
            'not a regular expression',
            id='pattern',
        ),
    ],
)
def test_an_unusable_data_root_is_refused(
    make: Callable[[Path], None], options: list[str], message: str, tmp_path: Path, capsys
) -> None:
    root = tmp_path / 'root'
    make(root)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(['--data-root', str(root), *options])) == 1
    assert message in capsys.readouterr().err


def test_two_tables_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / 'metadata' / 'Data_Entry_2017.csv').write_text('x')
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(['--data-root', str(root)])) == 1
    assert 'or name it with --metadata' in capsys.readouterr().err


def test_the_catalogue_explains_every_problem() -> None:
    constants = {value for name, value in vars(problem_names).items() if name.isupper()}
    assert set(PROBLEMS) == {*constants, *image_status.PROBLEMS}
    for kind in PROBLEMS.values():
        assert kind.severity in (ERROR, WARNING)
        assert kind.title[0].isalpha() and not kind.title.endswith('.')
        assert kind.remedy.endswith('.')


@pytest.mark.real_data
def test_the_real_records_are_clean(real_data: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    report = tmp_path / 'report.json'
    assert (
        command.run(
            parser.parse_args(
                ['--data-root', str(real_data / 'nih'), '--json', str(report), '--workers', '1']
            )
        )
        == 0
    )
    content = json.loads(report.read_text())
    assert (
        content['records'],
        content['accepted'],
        content['patients'],
        content['metadata_joined'],
    ) == (
        1948,
        1948,
        1468,
        1948,
    )
    assert (content['labels'][NO_FINDING], content['abnormal']) == (522, 1426)
    assert sum(content['official_lists'].values()) == 1948
    assert content['problems'] == []


def test_the_records_of_these_tests_have_the_layout() -> None:
    assert {parse(record(number)).image_id for number in range(COUNT)} == {
        id_of(number) for number in range(COUNT)
    }
