"""`convert --labels`: DICOM folders, DICOMDIR, ZIP and the label tables of public data sets."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.fileset import FileSet

from cli.commands import check as check_command
from cli.commands import convert as command
from records import examples, metadata, synth, tfrecord
from records.convert import label_formats, label_tables, pseudonyms
from records.convert.sources import SourceError
from records.layout import TABLE
from tests.support import dicom_files

# Everything that identifies, in headers and file names.
_SECRETS = {
    'PatientName': 'Zzyzx^Quentin',
    'PatientID': 'MRN47110815',
    'PatientBirthDate': '19370203',
    'InstitutionName': 'St. Elsewhere',
    'ReferringPhysicianName': 'Hibbert^Julius',
    'AccessionNumber': 'ACC998877',
    'StudyDescription': 'Thorax of Quentin',
    'StudyDate': '20260102',
    'StudyTime': '101112',
}
_NAMES = ('zzyzx_1', 'zzyzx_2', 'other_1', 'lateral')


def _run(*options: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(option) for option in options]))


def _dicom(number: int, **tags: object) -> bytes:
    uid = f'1.2.826.0.1.4711.{number}'
    return dicom_files.build(
        synth.phantom(patient=number, size=128).astype(np.uint16) * 16,
        BitsStored=12,
        **{
            **_SECRETS,
            'StudyInstanceUID': f'{uid}.1',
            'SeriesInstanceUID': f'{uid}.2',
            'SOPInstanceUID': uid,
            'PatientAge': '058Y',
            'PatientSex': 'F',
            'WindowCenter': 2000,
            'WindowWidth': 4000,
            'ImagerPixelSpacing': [0.143, 0.143],
            **tags,
        },
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of one patient, the later one first; another patient of 97; a lateral; a text."""
    folder = tmp_path_factory.mktemp('dicom') / 'Quentin'
    folder.mkdir()
    (folder / 'zzyzx_1.dcm').write_bytes(_dicom(1, StudyDate='20270101', ViewPosition='AP'))
    (folder / 'zzyzx_2').write_bytes(_dicom(2))
    (folder / 'other_1.dcm').write_bytes(
        _dicom(3, PatientID='OTHER', PatientAge='097Y', PatientSex='M')
    )
    (folder / 'lateral.dcm').write_bytes(_dicom(4, ViewPosition='LL'))
    (folder / 'README.txt').write_text('Quentin')
    return folder


@pytest.fixture(scope='module')
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        ('zzyzx_1', 'Lung Opacity'), ('zzyzx_2', 'Normal'),
        ('other_1', 'No Lung Opacity / Not Normal'),
        ('lateral', 'Normal'), ('missing', 'Normal'),
    ]  # fmt: skip
    path = tmp_path_factory.mktemp('labels') / 'stage_2_detailed_class_info.csv'
    path.write_text('patientId,class\n' + ''.join(f'{name},{text}\n' for name, text in rows))
    return path


def _options(images: Path, labels: Path, out: Path) -> list[str | Path]:
    return [
        *('--images', images, '--out', out, '--labels', labels, '--label-format', 'rsna'),
        *('--patient-key', out.parent / 'key', '--max-failed', '0.5', '--workers', '1'),
    ]


@pytest.fixture(scope='module')
def converted(folder: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('converted') / 'out'
    assert _run(*_options(folder, labels, out), '--names', out.parent / 'names.csv') == 0
    return out


def _records(out: Path) -> dict[str, bytes]:
    found = {}
    for path in (out / 'data').iterdir():
        for item in tfrecord.read(str(path)):
            assert isinstance(item, tfrecord.Record)
            record = examples.parse(item.payload)
            found[str(record.image_id)] = record.image
    return found


def _rows(out: Path) -> dict[str, dict[str, str]]:
    """The rows of the metadata table, by the name of the file."""
    entries = metadata.read_cells(
        str(out / TABLE),
        ('Follow-up #', 'Patient ID', 'Patient Age', 'Patient Gender', 'View Position',
         'Finding Labels'),
    )  # fmt: skip
    with (out.parent / 'names.csv').open() as file:
        names = {row['image_id']: Path(row['file']).stem for row in csv.DictReader(file)}
    return {names[image_id]: row for image_id, row in entries.items()}


def test_age_sex_view_and_study_come_from_the_header(converted: Path) -> None:
    rows = _rows(converted)
    assert set(rows) == {'zzyzx_1', 'zzyzx_2', 'other_1'}
    kept = {
        name: (row['Patient Age'], row['Patient Gender'], row['View Position'], row['Follow-up #'])
        for name, row in rows.items()
    }
    assert kept == {
        'zzyzx_1': ('58', 'F', 'AP', '1'),
        'zzyzx_2': ('58', 'F', 'PA', '0'),
        # From 90 years on, an age may identify.
        'other_1': ('90', 'M', 'PA', '0'),
    }
    patients = [rows[name]['Patient ID'] for name in ('zzyzx_1', 'zzyzx_2', 'other_1')]
    assert patients[0] == patients[1] != patients[2]
    assert rows['zzyzx_1']['Finding Labels'] == 'Pneumonia'
    assert rows['other_1']['Finding Labels'] == ''


def test_the_report_counts_everything(converted: Path) -> None:
    report = json.loads((converted / 'convert_report.json').read_text())
    assert report['converted'] == 3
    assert report['table_rows_without_image'] == 2  # of the missing file and of the lateral
    assert report['ignored_files'] == {'other files': 1}
    (failed,) = report['failed']
    assert failed['reason'].startswith('ViewPosition (0018,5101) is LL')


def test_nothing_that_was_kept_identifies(folder: Path, converted: Path) -> None:
    secrets = {*_SECRETS.values(), 'Quentin', 'zzyzx', '1.2.826.0.1.4711', *_NAMES}
    files = [path for path in converted.rglob('*') if path.is_file()]
    assert len(files) == 4
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == '.gz' else content
        for text in secrets:
            assert text.lower().encode() not in content.lower(), (path, text)
            assert text.lower() not in str(path.relative_to(converted)).lower()
    assert folder.name == 'Quentin'


def test_check_finds_the_data_set_clean(converted: Path) -> None:
    parser = argparse.ArgumentParser()
    check_command.add_arguments(parser)
    assert check_command.run(parser.parse_args(['--data-root', str(converted)])) == 0


def test_another_key_gives_other_names(folder: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / 'key').write_text('0123456789abcdef')
    assert _run(*_options(folder, labels, tmp_path / 'out')) == 0
    again = tmp_path / 'again'
    again.mkdir()
    shutil.copy(tmp_path / 'key', again / 'key')
    assert _run(*_options(folder, labels, again / 'out')) == 0
    first, second = _records(tmp_path / 'out'), _records(again / 'out')
    assert first == second and len(first) == 3


def test_a_zip_and_a_dicomdir_give_the_same_records(
    folder: Path, labels: Path, converted: Path, tmp_path: Path
) -> None:
    key = (converted.parent / 'key').read_bytes()
    (tmp_path / 'key').write_bytes(key)
    with zipfile.ZipFile(tmp_path / 'all.zip', 'w') as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    assert _run(*_options(tmp_path / 'all.zip', labels, tmp_path / 'zip')) == 0
    assert _records(tmp_path / 'zip') == _records(converted)

    files = FileSet()
    for path in sorted(folder.glob('zzyzx*')):
        dataset = pydicom.dcmread(path)
        dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = '1', 1, 1
        files.add(dataset)
    files.write(tmp_path / 'disc')
    table = tmp_path / 'labels.csv'
    table.write_text('uid,findings\n1.2.826.0.1.4711.1,Effusion\n1.2.826.0.1.4711.2,clear\n')
    mapping = tmp_path / 'mapping.yaml'
    mapping.write_text(
        'image: uid\nmatch: instance\ncolumn: findings\n'
        'names: {Effusion: Effusion, clear: No Finding}\n'
    )
    options = _options(tmp_path / 'disc' / 'DICOMDIR', table, tmp_path / 'out')
    options[options.index('rsna')] = mapping
    assert _run(*options) == 0
    whole = _records(converted)
    assert all(whole[name] == image for name, image in _records(tmp_path / 'out').items())


def test_a_dicom_image_and_its_png_become_the_same_record(
    folder: Path, labels: Path, converted: Path, tmp_path: Path
) -> None:
    from records.dicom import reader

    images = tmp_path / 'png'
    images.mkdir()
    for name in ('zzyzx_1.dcm', 'zzyzx_2', 'other_1.dcm'):
        shown = reader.read((folder / name).read_bytes()).render().pixels
        Image.fromarray(shown).save(images / f'{Path(name).stem}.png')
    assert _run(*_options(images, labels, tmp_path / 'out')) == 0
    assert sorted(_records(tmp_path / 'out').values()) == sorted(_records(converted).values())


def test_a_damaged_file_is_named_outside_of_the_data_set_only(
    folder: Path, labels: Path, tmp_path: Path
) -> None:
    images = tmp_path / 'images'
    shutil.copytree(folder, images)
    path = images / 'zzyzx_1.dcm'
    path.write_bytes(path.read_bytes()[:-10_000])
    names = tmp_path / 'names.csv'
    assert _run(*_options(images, labels, tmp_path / 'out'), '--names', names) == 0
    with names.open() as file:
        problems = {row['file']: row['problem'] for row in csv.DictReader(file)}
    assert 'cut off' in problems['zzyzx_1.dcm'] and problems['zzyzx_2'] == ''
    report = (tmp_path / 'out' / 'convert_report.json').read_text()
    assert 'cut off' in report and 'zzyzx' not in report


@pytest.mark.parametrize(
    ('place', 'message'),
    [('in', 'outside of the data'), ('short', 'expected at least 16')],
)
def test_a_key_that_protects_nothing_is_refused(
    folder: Path, tmp_path: Path, place: str, message: str
) -> None:
    path = folder / 'key' if place == 'in' else tmp_path / 'key'
    if place == 'short':
        path.write_text('secret')
    with pytest.raises(SourceError, match=message):
        pseudonyms.load(path, folder)
    assert not (folder / 'key').exists()


def test_a_new_key_is_for_this_user_only(tmp_path: Path) -> None:
    names, is_new = pseudonyms.load(tmp_path / 'key')
    assert is_new and (tmp_path / 'key').stat().st_mode & 0o777 == 0o600
    again, is_new = pseudonyms.load(tmp_path / 'key')
    assert not is_new and again.patient('a') == names.patient('a') != names.patient('b')


_CHEXPERT = (
    'Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,'
    'Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,'
    'Pleural Effusion,Pleural Other,Fracture,Support Devices'
)


def _table(path: Path, header: str, *rows: str) -> Path:
    path.write_text('\n'.join((header, *rows)) + '\n')
    return path


@pytest.mark.parametrize(
    ('uncertain', 'expected'),
    [
        (
            'positive',
            [('Edema', 'Effusion'), ('No Finding',), ('Cardiomegaly',), ('Other',), 'frontal'],
        ),
        ('negative', [('Effusion',), ('No Finding',), 'neither', ('Other',), 'frontal']),
        ('leave-out', ['uncertain', ('No Finding',), 'uncertain', ('Other',), 'frontal']),
    ],
)  # fmt: skip
def test_chexpert(tmp_path: Path, uncertain: str, expected: list) -> None:
    folder = 'CheXpert-v1.0-small/train/patient00001/study1'
    path = _table(
        tmp_path / 'train.csv',
        _CHEXPERT,
        f'{folder}/view1_frontal.jpg,Female,68,Frontal,AP,,,0.0,,,-1.0,,,,,1.0,,,1.0',
        f'{folder}/view2_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,,,,,1.0',
        f'{folder}/view3_frontal.jpg,Female,68,Frontal,AP,,,-1.0,,,,,,,,,,,',
        f'{folder}/view4_frontal.jpg,Female,68,Frontal,AP,,,,,,,,,,,,,1.0,',
        f'{folder}/view5_lateral.jpg,Female,68,Lateral,,1.0,,,,,,,,,,,,,',
    )
    form = label_formats.PRESETS['chexpert']
    rows = list(label_tables.read(path, form, uncertain).values())
    for row, value in zip(rows, expected, strict=True):
        if isinstance(value, str):
            assert row.labels == () and value in row.left_out
        else:
            assert (row.labels, row.left_out) == (value, '')
    assert (rows[0].patient, rows[0].age, rows[0].sex) == ('patient00001', '68', 'Female')
    key = label_formats.key_of('/data/train/patient00001/study1/view1_frontal.jpg', form.match)
    assert key in label_tables.read(path, form)


def test_mimic_finds_the_study_by_its_folder(tmp_path: Path) -> None:
    header = 'subject_id,study_id,' + _CHEXPERT.split('AP/PA,')[1]
    path = _table(tmp_path / 'mimic.csv', header, '10000032,50414267,1.0,,,,,,,,,,,,,')
    form = label_formats.PRESETS['mimic-cxr']
    key = label_formats.key_of('files/p10/p10000032/s50414267/02aa804e.dcm', form.match)
    row = label_tables.read(path, form)[key]
    assert (row.labels, row.patient) == (('No Finding',), '10000032')


@pytest.mark.parametrize(
    ('cell', 'expected'),
    [
        ("['normal']", ('No Finding',)),
        (
            "['pleural effusion', 'cardiomegaly', 'scoliosis']",
            ('Cardiomegaly', 'Effusion', 'Other'),
        ),
        ("['scoliosis']", ('Other',)),
        ("['suboptimal study', 'normal']", 'cannot be used'),
        ("['unchanged', 'normal']", ('No Finding',)),
        ('[]', 'neither'),
    ],
)
def test_padchest(tmp_path: Path, cell: str, expected: str | tuple) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(('ImageID', 'PatientID', 'PatientSex_DICOM', 'Projection', 'Labels'))
    writer.writerow(('a.png', '7', 'M', 'PA', cell))
    path = tmp_path / 'padchest.csv'
    path.write_text(text.getvalue())
    (row,) = label_tables.read(path, label_formats.PRESETS['padchest']).values()
    assert expected in row.left_out if isinstance(expected, str) else row.labels == expected


def test_vindr_is_decided_by_the_majority_of_readers(tmp_path: Path) -> None:
    form = label_formats.PRESETS['vindr-cxr']
    names = list(form.findings)
    path = tmp_path / 'image_labels_train.csv'
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('image_id', 'rad_id', *names))
        for reader, present in (
            ('R1', {'Pleural effusion'}),
            ('R2', {'Pleural effusion', 'Edema'}),
            ('R3', {'No finding'}),
        ):
            writer.writerow(('a', reader, *(int(name in present) for name in names)))
    assert label_tables.read(path, form)['a'].labels == ('Effusion',)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (('a,yes',), "line 2: Effusion is 'yes'"),
        (('a,1', 'a,0'), 'line 3: a second row of the same image'),
    ],
)
def test_tables_that_cannot_be_used_are_refused(
    tmp_path: Path, rows: tuple[str, ...], message: str
) -> None:
    form = label_formats.LabelFormat(image='id', findings={'Effusion': 'Effusion'})
    with pytest.raises(SourceError, match=message):
        label_tables.read(_table(tmp_path / 'a.csv', 'id,Effusion', *rows), form)
    with pytest.raises(SourceError, match="column 'Effusion' is missing"):
        label_tables.read(_table(tmp_path / 'b.csv', 'id,Fluid', 'a,1'), form)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('image: id', 'expected either findings or column'),
        ('image: id\nfindings: {Fluid: Water}', "'Fluid' is 'Water'"),
        ('image: id\nfindings: {a: Mass}\nmatch: colour', 'match'),
        ('image: [', 'not valid YAML'),
    ],
)
def test_mapping_files_that_cannot_be_used_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / 'mapping.yaml'
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        label_formats.load(str(path))
    with pytest.raises(SourceError, match='chexpert, mimic-cxr'):
        label_formats.load('unknown')
