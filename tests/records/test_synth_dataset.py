"""Synthetic data sets: in the NIH layout, reproducible, with the requested shares."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.commands import synth as command
from records import examples, metadata, tfrecord
from records.synth import SynthError, dataset, population, write_dataset
from schemas.labels import FINDINGS, LABELS, NO_FINDING

_SIZE = 64  # pixels; the tests do not depend on the image


def _bytes(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def _records(root: Path) -> list[examples.XrayRecord]:
    result = []
    for path in sorted((root / 'data').glob('*.tfrec')):
        items = list(tfrecord.read(str(path)))
        assert all(isinstance(item, tfrecord.Record) for item in items)
        assert tfrecord.promised_count(str(path)) == len(items)
        result.extend(examples.parse(item.payload) for item in items)
    return result


@pytest.fixture(scope='module')
def dataset_and_summary(tmp_path_factory) -> tuple[Path, dataset.SynthSummary]:
    out = tmp_path_factory.mktemp('synth') / 'root'
    return out, write_dataset(out, 60, seed=3, size=_SIZE, per_shard=25, label_noise=0.2, workers=1)


def test_records_are_of_the_nih_layout(dataset_and_summary) -> None:
    out, summary = dataset_and_summary
    assert [path.name for path in summary.files] == ['000-25.tfrec', '001-25.tfrec', '002-10.tfrec']
    records = _records(out)
    assert len(records) == summary.records == 60
    for record in records:
        assert metadata.nih_patient(record.image_id)
        assert bool(record.labels[NO_FINDING]) != any(record.labels[name] for name in FINDINGS)
        image = Image.open(io.BytesIO(record.image))
        assert (image.format, image.mode, image.size) == ('JPEG', 'L', (_SIZE, _SIZE))
    assert len({record.image_id for record in records}) == 60
    assert {
        name: sum(record.labels[name] for record in records) for name in LABELS
    } == summary.label_counts
    assert sum(len(record.image) for record in records) == summary.image_bytes


def test_tables_agree_with_the_records(dataset_and_summary) -> None:
    out, summary = dataset_and_summary
    records = {record.image_id: record for record in _records(out)}
    table = metadata.read_table(str(out / 'metadata' / 'Data_Entry_2017_v2020.csv.gz'))
    assert list(table) == list(records)
    for image_id, entry in table.items():
        assert entry.findings == tuple(name for name in LABELS if records[image_id].labels[name])
        assert entry.patient_id == image_id[:8]
        assert entry.follow_up == int(image_id[9:12])
        assert 18 <= entry.age <= 92
    assert Counter(entry.view_position for entry in table.values()) == summary.views
    assert len({entry.patient_id for entry in table.values()}) == summary.patients < summary.records
    train = metadata.read_list(str(out / 'metadata' / 'train_val_list.txt.gz'))
    test = metadata.read_list(str(out / 'metadata' / 'test_list.txt.gz'))
    assert train | test == set(records)
    assert not {name[:8] for name in train} & {name[:8] for name in test}
    with open(out / 'preprocessed_data.csv', newline='') as file:
        rows = list(csv.reader(file))
    assert rows[0] == ['', *LABELS]
    for row, record in zip(rows[1:], records.values(), strict=True):
        assert row[0] == f'../input/data/images_001/images/{record.image_id}'
        assert row[1:] == ['True' if record.labels[name] else 'False' for name in LABELS]


def test_the_truth_table_shows_the_label_noise(dataset_and_summary) -> None:
    out, summary = dataset_and_summary
    with gzip.open(out / 'metadata' / dataset.TRUTH_NAME, 'rt', newline='') as file:
        rows = list(csv.DictReader(file))
    assert sum(row['Drawn'] != row['Labelled'] for row in rows) == summary.mislabelled
    assert 2 <= summary.mislabelled <= 24  # 60 at 0.2: 12 expected, 4 standard deviations


@pytest.mark.real_data
def test_tables_have_the_real_headings(dataset_and_summary, real_data) -> None:
    out, _ = dataset_and_summary
    for name, lines in (('metadata/Data_Entry_2017_v2020.csv.gz', 1), ('preprocessed_data.csv', 1)):
        headings = []
        for root in (out, real_data / 'nih'):
            data = (root / name).read_bytes()
            headings.append(
                (gzip.decompress(data) if name.endswith('.gz') else data).split(b'\n')[:lines]
            )
        assert headings[0] == headings[1]


@pytest.mark.real_data
def test_examples_have_the_real_features(dataset_and_summary, real_data) -> None:
    from tensorflow.core.example import example_pb2

    kinds = []
    for folder in (dataset_and_summary[0] / 'data', real_data / 'nih' / 'data'):
        item = next(tfrecord.read(str(min(folder.glob('*.tfrec')))))
        assert isinstance(item, tfrecord.Record)
        features = example_pb2.Example.FromString(item.payload).features.feature
        kinds.append({name: features[name].WhichOneof('kind') for name in features})
    assert kinds[0] == kinds[1]


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_workers(tmp_path) -> None:
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), 30, seed=1, size=_SIZE, workers=workers)
    assert _bytes(tmp_path / '1') == _bytes(tmp_path / '2')


def test_records_do_not_depend_on_how_they_are_distributed(tmp_path) -> None:
    write_dataset(tmp_path / 'few', 6, seed=1, size=_SIZE, per_shard=2)
    write_dataset(tmp_path / 'more', 9, seed=1, size=_SIZE, per_shard=5)
    assert _records(tmp_path / 'few') == _records(tmp_path / 'more')[:6]


def test_a_later_span_has_other_patients(tmp_path) -> None:
    write_dataset(tmp_path / 'one', 5, size=_SIZE)
    write_dataset(tmp_path / 'two', 5, size=_SIZE, first_patient=1000)
    patients = [
        {record.image_id[:8] for record in _records(tmp_path / name)} for name in ('one', 'two')
    ]
    assert not patients[0] & patients[1]
    assert min(patients[1]) == '00001000'


def test_seeds_differ(tmp_path) -> None:
    write_dataset(tmp_path / 'one', 2, seed=0, size=_SIZE)
    write_dataset(tmp_path / 'two', 2, seed=1, size=_SIZE)
    assert _records(tmp_path / 'one')[0].image != _records(tmp_path / 'two')[0].image


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param({'count': 0}, 'count is 0', id='count'),
        pytest.param({'count': -5}, 'count is -5', id='negative count'),
        pytest.param({'seed': -1}, 'seed is -1', id='seed'),
        pytest.param({'per_shard': 0}, 'per_shard is 0', id='per_shard'),
        pytest.param({'size': 8}, 'size is 8', id='size'),
        pytest.param({'workers': 0}, 'workers is 0', id='workers'),
        pytest.param({'label_noise': 1.5}, 'label_noise is 1.5', id='label noise'),
        pytest.param({'prevalence': {'Gout': 0.1}}, "names 'Gout'", id='unknown finding'),
        pytest.param({'prevalence': {'Mass': 2}}, 'prevalence of Mass is 2', id='share'),
        pytest.param(
            {'prevalence': {'Mass': 0.9, NO_FINDING: 0.5}}, 'No Finding is 0.5', id='no room'
        ),
        pytest.param({'first_patient': 99_999_999, 'count': 50}, '8 digits', id='patients run out'),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message) -> None:
    with pytest.raises(SynthError, match=message):
        write_dataset(tmp_path / 'root', **{'count': 3, **arguments})
    assert not (tmp_path / 'root').exists()


def test_records_are_not_overwritten_unless_told(tmp_path) -> None:
    write_dataset(tmp_path, 3, size=_SIZE, per_shard=1)
    before = _bytes(tmp_path)
    with pytest.raises(SynthError, match='already has 3 record files'):
        write_dataset(tmp_path, 2, seed=9, size=_SIZE)
    assert _bytes(tmp_path) == before
    write_dataset(tmp_path, 2, seed=9, size=_SIZE, overwrite=True)
    assert [path.name for path in sorted((tmp_path / 'data').iterdir())] == ['000-2.tfrec']


def test_records_that_were_not_drawn_are_never_overwritten(tmp_path) -> None:
    real = tmp_path / 'data' / '000-1.tfrec'
    real.parent.mkdir()
    real.write_bytes(b'a patient')
    with pytest.raises(SynthError, match='synth did not write'):
        write_dataset(tmp_path, 2, size=_SIZE, overwrite=True)
    assert real.read_bytes() == b'a patient'


def test_a_failed_run_leaves_no_half_file(tmp_path) -> None:
    def stop(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, 4, size=_SIZE, per_shard=2, on_progress=stop)
    assert list((tmp_path / 'data').iterdir()) == []
    assert write_dataset(tmp_path, 4, size=_SIZE, per_shard=2, overwrite=True).records == 4


def test_findings_come_as_in_nih() -> None:
    studies = population.draw(6000, seed=0, label_noise=0.0)
    share = Counter(name for study in studies for name in study.findings or (NO_FINDING,))
    assert share[NO_FINDING] / 6000 == pytest.approx(0.538, abs=0.03)
    for name, expected in population.NIH_PREVALENCE.items():
        # Studies of a patient are alike: about four times the variance of independent draws.
        assert share[name] / 6000 == pytest.approx(
            expected, abs=6 * np.sqrt(expected / 6000) + 0.001
        ), name
    both = sum({'Effusion', 'Atelectasis'} <= set(study.findings) for study in studies) / 6000
    assert both == pytest.approx(
        0.0292, abs=0.012
    )  # 3,275 of 112,120; 0.012 if they were independent
    assert both > 1.4 * share['Effusion'] * share['Atelectasis'] / 6000**2
    bedside = [study.study.view == 'AP' for study in studies]
    assert np.mean(bedside) == pytest.approx(0.40, abs=0.04)
    assert not any(study.mislabelled for study in studies)


@pytest.mark.parametrize('normal', [0.2, 0.54, 0.9])
def test_prevalence_can_be_set(normal) -> None:
    shares = population.shares({NO_FINDING: normal, 'Hernia': 0.05})
    assert population.without_finding(shares) == pytest.approx(normal, abs=1e-3)
    assert shares['Hernia'] == 0.05


def test_only_one_finding_and_only_normals() -> None:
    only = population.draw(200, 0, 0.0, {**dict.fromkeys(FINDINGS, 0.0), 'Mass': 1.0})
    assert {study.findings for study in only} == {('Mass',)}
    none = population.draw(200, 0, 0.0, {NO_FINDING: 1.0})
    assert {study.findings for study in none} == {()}


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_command_writes_and_refuses(tmp_path, capsys) -> None:
    arguments = ('--out', str(tmp_path / 'root'), '--count', '4', '--size', str(_SIZE))
    assert _run(*arguments) == 0
    assert '4 X-rays' in capsys.readouterr().out
    assert _run(*arguments) == 1
    assert 'already has 1 record files' in capsys.readouterr().err
    assert _run(*arguments, '--overwrite') == 0


def test_command_says_what_is_wrong_with_the_target(tmp_path, capsys) -> None:
    (tmp_path / 'file').write_text('in the way')
    assert _run('--out', str(tmp_path / 'file'), '--count', '2', '--size', str(_SIZE)) == 1
    assert f'{tmp_path / "file"} is not writable' in capsys.readouterr().err


def test_the_command_line_does_not_import_numpy() -> None:
    code = (
        'import sys, cli.commands.synth; sys.exit(any(name in sys.modules for name in '
        '("numpy", "tensorflow", "PIL", "rich")))'
    )
    assert (
        subprocess.run(
            [sys.executable, '-c', code], env=os.environ, cwd=Path(__file__).parents[2], check=False
        ).returncode
        == 0
    )
