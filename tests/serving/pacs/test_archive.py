"""The round trip with real parts: storescu, the gateway, Orthanc, dsrdump and dciodvfy."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests

from benchmarks.serving import dicom_files
from cli.main import main
from serving.database import connection
from serving.pacs.settings import PacsSettings, Peer, Target
from tests.support import archives, gateways

pytestmark = pytest.mark.slow

_TITLE = 'CXRTRIAGE'
_PATIENCE_S = 300.0


@pytest.fixture(scope='module')
def archive() -> Iterator[archives.Archive]:
    with archives.running() as running:
        yield running


@pytest.fixture(scope='module')
def gateway(
    archive: archives.Archive, pushed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[gateways.Gateway]:
    """A gateway whose reports go to the archive by C-STORE."""
    folder = tmp_path_factory.mktemp('gateway')
    pacs = PacsSettings(
        port=0, targets=(Target.parse(archive.dicom_url),), report_after_s=1.0, commits=True
    )
    database = connection.sqlite_url(folder / 'gateway.sqlite')
    with (
        gateways.model_server('embedded', pushed, folder) as address,
        gateways.running(folder, database, pushed, address, pacs=pacs) as running,
    ):
        yield running


def _storescu(gateway: gateways.Gateway, *files: Path) -> str:
    """Sends files as dcmtk does, and returns what it says."""
    port = gateway.services.pacs.port
    command = ['storescu', '-v', '-aec', _TITLE, '127.0.0.1', str(port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _wait(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return result


def _reports(archive: archives.Archive, study: str) -> list[str]:
    """The SOP Instance UIDs of the reports about a study."""
    return [
        row['00080018']['Value'][0]
        for row in archive.reports()
        if row['0020000D']['Value'] == [study]
    ]


def test_an_image_comes_back_as_a_valid_report(
    archive: archives.Archive, gateway: gateways.Gateway, tmp_path: Path
) -> None:
    image = dicom_files.image(tmp_path / 'image.dcm', gateways.pixels(1))
    assert 'Received Store Response (Success)' in _storescu(gateway, image.path)
    (report,) = _wait(lambda: _reports(archive, image.study))
    path = tmp_path / 'report.dcm'
    path.write_bytes(archive.file(report))
    checked = subprocess.run(['dciodvfy', path], capture_output=True, text=True, check=False)
    assert 'Error' not in checked.stderr, checked.stderr
    dump = subprocess.run(['dsrdump', path], capture_output=True, text=True, check=True)
    for expected in (
        'Abnormal',
        'Probability',
        'Threshold Value',
        'Triage flag',
        'Algorithm Version',
        'Research use only, not for clinical use',
    ):
        assert expected in dump.stdout
    report_set = pydicom.dcmread(path)
    original = pydicom.dcmread(image.path)
    for name in ('PatientID', 'PatientName', 'StudyInstanceUID', 'AccessionNumber'):
        assert report_set[name].value == original[name].value
    (evidence,) = report_set.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == image.instance
    (study,) = gateway.body('/v1/worklist?limit=1')['studies']
    assert f'"{study["probability"]:.6f}'[:8] in dump.stdout


def test_an_image_that_follows_joins_its_study_and_replaces_the_report(
    archive: archives.Archive, gateway: gateways.Gateway, tmp_path: Path
) -> None:
    first = dicom_files.image(tmp_path / '1.dcm', gateways.pixels(2))
    _storescu(gateway, first.path)
    (before,) = _wait(lambda: _reports(archive, first.study))
    second = dicom_files.image(tmp_path / '2.dcm', gateways.pixels(3), study=first.study)
    _storescu(gateway, second.path, second.path, first.path)
    reports = _wait(lambda: len(found := _reports(archive, first.study)) == 2 and found)
    (after,) = set(reports) - {before}
    path = tmp_path / 'report.dcm'
    path.write_bytes(archive.file(after))
    document = pydicom.dcmread(path)
    (predecessor,) = document.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before
    (row,) = gateway.body('/v1/worklist?limit=1')['studies']
    study = gateway.body(f'/v1/studies/{row["id"]}')
    answers = [image['answer'] for image in study['images']]
    assert len(answers) == 2
    assert study['probability'] == max(answer['probability'] for answer in answers)
    assert study['flag'] == any(answer['flag'] for answer in answers)


def test_reports_arrive_once_after_the_archive_was_down(
    archive: archives.Archive, gateway: gateways.Gateway, tmp_path: Path
) -> None:
    images = [
        dicom_files.image(tmp_path / f'{number}.dcm', gateways.pixels(number))
        for number in range(4, 8)
    ]
    archive.stop()
    try:
        _storescu(gateway, *(image.path for image in images))
        _wait(lambda: not gateway.body('/v1/worklist?state=pending')['studies'])
        time.sleep(3)  # the first attempts fail
    finally:
        archive.start()
    for image in images:
        _wait(lambda image=image: _reports(archive, image.study))
    time.sleep(3)
    for image in images:
        assert len(_reports(archive, image.study)) == 1


def test_images_come_from_the_archive_by_dicomweb_and_the_report_goes_back(
    archive: archives.Archive,
    gateway: gateways.Gateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [
        dicom_files.image(tmp_path / f'{number}.dcm', gateways.pixels(number)) for number in (8, 9)
    ]
    jpeg_ls = tmp_path / 'jpeg-ls.dcm'
    subprocess.run(['dcmcjpls', images[1].path, jpeg_ls], check=True)
    for path in (images[0].path, jpeg_ls):
        requests.post(f'{archive.url}/instances', path.read_bytes(), timeout=60)
    command = ['pull', archive.web_url, '--dates', '20260102', '--to', gateway.url]
    assert main(command) == 0
    output = capsys.readouterr().out
    for image in images:
        assert f'{image.study}: 1 images\n' in output
        assert len(_wait(lambda image=image: _reports(archive, image.study))) == 1
    assert main(command) == 0
    assert ', 0 images sent, ' in capsys.readouterr().out
    assert main([*command[:3], '19000101', *command[4:]]) == 0
    assert capsys.readouterr().out == '0 series, 0 images sent\n'


def test_an_archive_takes_reports_by_stow_and_sends_images_itself(
    pushed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It also confirms that they are stored, and sends what it is asked for with `pull`."""
    (port,) = archives.free_ports(1)
    with archives.running((_TITLE, port)) as archive:
        pacs = PacsSettings(
            port=port,
            peers=(Peer('ORTHANC', '127.0.0.1', archive.dicom_port),),
            targets=(Target.parse(archive.web_url),),
            report_after_s=0.0,
            commits=True,
        )
        database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
        with (
            gateways.model_server('embedded', pushed, tmp_path) as address,
            gateways.running(tmp_path / 'data', database, pushed, address, pacs=pacs),
        ):
            image = dicom_files.image(tmp_path / 'image.dcm', gateways.pixels(1))
            body = image.path.read_bytes()
            stored = requests.post(f'{archive.url}/instances', body, timeout=60).json()
            archive.post('/modalities/gateway/store', [stored['ID']])
            commitment = archive.post(
                '/modalities/gateway/storage-commitment',
                {'DicomInstances': [[dicom_files.SOP_CLASS, image.instance]]},
            )
            answer = _wait(
                lambda: (a := archive.get(commitment['Path'])) and a['Status'] != 'Pending' and a
            )
            assert answer['Status'] == 'Success'
            assert len(_wait(lambda: _reports(archive, image.study))) == 1
            other = dicom_files.image(tmp_path / 'other.dcm', gateways.pixels(2))
            requests.post(f'{archive.url}/instances', other.path.read_bytes(), timeout=60)
            assert main(['pull', archive.dicom_url, '--dates', '20260102']) == 0
            assert f'{other.study}: 1 images' in capsys.readouterr().out
            assert len(_wait(lambda: _reports(archive, other.study))) == 1
            assert main(['pull', archive.dicom_url, '--dates', '19000101']) == 0
            assert capsys.readouterr().out == '0 series, 0 images sent\n'
