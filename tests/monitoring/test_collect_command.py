"""`cxr-triage collect`: readings of a service become a span of a data root."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from cli import main as cli
from monitoring import spans
from records import tfrecord
from records.data_root import scan
from records.dicom import deidentify
from records.dicom import reader as dicom_reader
from records.examples import XrayRecord, parse
from records.layout import TABLE
from records.metadata import read_table
from serving import running, studies, uploads
from serving.database import connection
from serving.database.tables import Image, Study
from serving.image_files import ImageFiles
from serving.pacs import origin
from serving.studies import NewImage, Outcome
from tests.support import gateways

_STUDIES, _THRESHOLD, _SHARE = 60, 0.5, 0.3


class Service:
    """The folder of a service, without a gateway."""

    def __init__(self, root: Path):
        self.root, self.data = root, root / running.FOLDER
        self._sessions = connection.connect(connection.sqlite_url(self.data / 'gateway.sqlite'))
        self.files = ImageFiles(self.data / running.IMAGES)
        self.origins = ImageFiles(self.data / running.ORIGINS)

    def study(
        self,
        content: bytes,
        probability: float | None,
        verdict: str = '',
        findings: tuple[str, ...] = (),
        kept: bytes = b'',
    ) -> str:
        """Adds a study with an image, an answer, and a reading unless `verdict` is ''."""
        image = NewImage(
            studies.new_id(), uploads.check(content), studies.sha256(content), len(content)
        )
        self.files.write(image.id, content)
        if kept:
            self.origins.write(image.id, kept)
        reason = '' if probability is not None else 'too_dark'
        flag = probability is None or probability >= _THRESHOLD
        with self._sessions.begin() as session:
            study = studies.accept(session, [image], 'test', site='ward-7')
            session.flush()
            outcome = Outcome(3, probability, flag, reason, _THRESHOLD)
            studies.record_answers(session, [(study, [outcome])])
            id = study.id
        if verdict:
            self.read(id, verdict, findings)
        return id

    def read(self, id: str, verdict: str, findings: tuple[str, ...] = ()) -> None:
        """Adds a reading."""
        with self._sessions.begin() as session:
            study = session.scalars(select(Study).where(Study.id == id)).one()
            studies.add_reading(session, study, 'Dr. Nightingale', verdict, list(findings), '')

    def remove(self, id: str) -> None:
        """Removes the files of a study, as the retention does."""
        with self._sessions() as session:
            for image in session.scalars(select(Image).join(Study).where(Study.id == id)):
                self.files.remove(image.id)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Studies that readers confirmed, far from the threshold; a quarter is abnormal."""
    made = Service(tmp_path / 'root')
    for number in range(_STUDIES):
        is_abnormal = number % 4 == 0
        made.study(
            gateways.jpeg(number),
            0.9 if is_abnormal else 0.1,
            'abnormal' if is_abnormal else 'normal',
        )
    return made


def _collect(service: Service, out: Path, *more: str) -> int:
    key = str(service.root.parent / 'key')
    command = ['collect', '--root', str(service.root), '--out', str(out), '--patient-key', key]
    return cli.main([*command, '--share', str(_SHARE), '--workers', '1', *more])


def _rows(span: Path) -> list[dict[str, str]]:
    with (span / spans.ROWS).open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def _records(span: Path) -> dict[str, XrayRecord]:
    records = {}
    for path in sorted((span / 'data').glob('*.tfrec')):
        for item in tfrecord.read(str(path)):
            record = parse(item.payload)
            records[record.image_id] = record
    return records


def test_confirmed_cases_are_sampled_and_all_others_kept(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'data'
    service.study(gateways.jpeg(100), 0.1, 'abnormal', ('Mass', 'Effusion'))  # missed
    service.study(gateways.jpeg(101), 0.9, 'normal')  # flagged without a cause
    service.study(gateways.jpeg(102), 0.45, 'normal')  # near
    service.study(gateways.jpeg(103), 0.1, 'not_assessable')
    service.study(gateways.jpeg(104), None, 'normal')
    service.study(gateways.jpeg(105), 0.1)  # not read
    service.study(gateways.jpeg(100), 0.1, 'abnormal')  # the same file again
    service.remove(service.study(gateways.jpeg(106), 0.1, 'abnormal'))
    assert _collect(service, out) == 0
    span = out / 'span-001'
    rows = _rows(span)
    weights = [float(row['weight']) for row in rows]
    sampled = [row for row in rows if row['sampling_probability'] != '1']
    assert len(rows) - len(sampled) == 3
    # Each is kept with a probability of 0.3: fewer than 6 or more than 32 of 60 is unlikely.
    assert 6 <= len(sampled) <= 32
    assert {row['sampling_probability'] for row in sampled} == {'0.3'}
    report = json.loads((span / spans.REPORT).read_text())
    assert report['left_out'] == {
        'images that the model did not assess': 1,
        'images that the retention removed': 1,
        'images that were collected before': 1,
        'studies read as not assessable': 1,
        'studies that the sampling left out': _STUDIES - len(sampled),
    }
    assert len(report['removed']) == 1
    records = _records(span)
    assert [records[row['image_id']].weight for row in rows] == pytest.approx(weights, rel=1e-5)
    (missed,) = (row for row in rows if row['findings'])
    positive = {name for name, value in records[missed['image_id']].labels.items() if value}
    assert (positive, missed['probability']) == ({'Mass', 'Effusion'}, '0.100000')
    for row in rows:
        record = records[row['image_id']]
        assert record.labels['No Finding'] == (row['verdict'] == 'normal')
        assert record.other == (row['verdict'] == 'abnormal' and not row['findings'])
        assert (row['site'], row['version']) == ('ward-7', '3')
    assert 'left out: 1 images that the retention removed' in capsys.readouterr().out
    assert [file.span for file in scan(str(out)).files] == [1]
    assert cli.main(['check', '--data-root', str(out)]) == 0


def test_a_second_collection_takes_only_what_is_new(service: Service, tmp_path: Path) -> None:
    out = tmp_path / 'data'
    assert _collect(service, out) == 0
    first = {path: path.read_bytes() for path in out.rglob('*.*') if path.is_file()}
    assert _collect(service, out) == 4
    late = service.study(gateways.jpeg(200), 0.1)
    assert _collect(service, out) == 4
    service.read(late, 'abnormal')
    assert _collect(service, out) == 0
    (row,) = _rows(out / 'span-002')
    assert row['weight'] == '1'
    assert {path: path.read_bytes() for path in first} == first
    assert not set(row['image_id']) & {old['image_id'] for old in _rows(out / 'span-001')}
    service.read(late, 'normal')
    assert _collect(service, out) == 4


def test_the_same_readings_give_the_same_span(service: Service, tmp_path: Path) -> None:
    spans_ = [tmp_path / name / 'span-001' for name in ('a', 'b')]
    for span in spans_:
        assert _collect(service, span.parent) == 0
    one, two = (
        {path.relative_to(span): path.read_bytes() for path in span.rglob('*') if path.is_file()}
        for span in spans_
    )
    assert one == two


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--share', '0.5'], 'it was collected with --share 0.3. Use the same --share'),
        (['--near', '0.2'], 'it was collected with --near 0.1'),
        (['--patient-key', '{tmp}/other'], 'no such file, and '),
        (['--patient-key', '{tmp}/long'], 'it was collected with another key'),
        (['--patient-key', '{tmp}/data/key'], 'Keep the key outside of the data'),
        (['--share', '0'], 'expected a share above 0'),
    ],
)
def test_another_way_to_collect_is_refused(
    options: list, message: str, service: Service, tmp_path: Path, capsys
) -> None:
    out = tmp_path / 'data'
    assert _collect(service, out) == 0
    (tmp_path / 'long').write_text('x' * 40)
    if '/data/key' in options[-1]:
        (out / 'key').write_text('x' * 40)
    assert _collect(service, out, *(text.format(tmp=tmp_path) for text in options)) == 1
    assert message in capsys.readouterr().err
    assert not (out / 'span-002').exists()


def test_a_killed_collection_leaves_no_span(service: Service, tmp_path: Path) -> None:
    out = tmp_path / 'data'
    code = (
        'import os, signal\nfrom cli import main as cli\nfrom monitoring import spans\n'
        f'spans._table = lambda rows: os.kill(os.getpid(), {int(signal.SIGKILL)})\n'
        f'cli.main({["collect", "--root", str(service.root), "--out", str(out)]!r} + '
        f'["--patient-key", {str(tmp_path / "key")!r}, "--share", "0.3", "--workers", "1"])\n'
    )
    ended = subprocess.run([sys.executable, '-c', code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list((out / '.span-001.partial' / 'data').glob('*.tfrec'))
    assert not list(out.glob('span-*'))
    assert _collect(service, out) == 0
    assert not list(out.glob('.span-*'))
    assert _rows(out / 'span-001')


def test_headers_give_patient_age_sex_and_view_and_no_name_is_kept(
    service: Service, tmp_path: Path
) -> None:
    out = tmp_path / 'data'
    for number, view in enumerate(('PA', 'AP')):
        content = gateways.dicom(gateways.pixels(300 + number), ViewPosition=view, PatientSex='F')
        uid = str(dicom_reader.read(content).dataset.StudyDate)
        assert uid == gateways.PATIENT['StudyDate']
        stored = deidentify.stripped(dicom_reader.read(content).dataset)
        with_study = gateways.dicom(
            gateways.pixels(300 + number), PatientSex='F', StudyInstanceUID=f'1.2.{number}'
        )
        service.study(stored, 0.1, 'abnormal', kept=origin.extract(with_study))
    assert _collect(service, out) == 0
    span = out / 'span-001'
    table = read_table(str(span / TABLE))
    rows = [row for row in _rows(span) if table[row['image_id']].age >= 0]
    assert {row['patient'] for row in rows} == {rows[0]['patient']}
    entries = [table[row['image_id']] for row in rows]
    assert {(entry.age, entry.sex) for entry in entries} == {(88, 'F')}
    assert {entry.view_position for entry in entries} == {'PA', 'AP'}
    content = b''.join(path.read_bytes() for path in span.rglob('*') if path.is_file())
    for text in (*gateways.PATIENT.values(), 'Nightingale', '1.2.0'):
        assert text.encode() not in content, text
