"""`check --images`: what `convert` would make of DICOM and other images."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.commands import check as command
from tests.support import dicom_files


def _run(*options: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(option) for option in (*options, '--workers', '1')]))


def _dicom(**tags: object) -> bytes:
    pixels = np.arange(128 * 128, dtype=np.uint16).reshape(128, 128) % 4096
    plain = {'WindowCenter': 2000, 'WindowWidth': 4000, 'ViewPosition': 'PA', 'BitsStored': 12}
    return dicom_files.build(pixels, **{**plain, **tags})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three DICOM files that are accepted, one of them with a note; two refused; and a text."""
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / 'one.dcm').write_bytes(_dicom())
    (folder / 'two').write_bytes(_dicom())
    (folder / 'scan.dcm').write_bytes(_dicom(Modality='SC'))
    (folder / 'side.dcm').write_bytes(_dicom(ViewPosition='LL'))
    (folder / 'ct.dcm').write_bytes(_dicom(Modality='CT'))
    (folder / 'README.txt').write_text('read me')
    return folder


def _report(folder: Path, *options: str | Path) -> tuple[int, dict]:
    out = folder.parent / 'report.json'
    code = _run('--images', folder, '--json', out, *options)
    return code, json.loads(out.read_text())


def test_counts_notes_and_refusals(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _report(folder)
    assert code == 1 and not report['clean']
    assert (report['images'], report['accepted'], report['with_notes']) == (5, 3, 1)
    ((note, count),) = report['notes'].items()
    assert count == 1 and note.startswith('Modality (0008,0060) is SC')
    refused = {item['file']: item['reason'] for item in report['refused']}
    assert refused.keys() == {'side.dcm', 'ct.dcm'}
    assert 'ViewPosition (0018,5101) is LL' in refused['side.dcm']
    assert report['ignored_files'] == {'other files': 1}
    screen = capsys.readouterr().out
    assert 'Not clean: convert would refuse 2 files.' in screen
    assert 'DICOM files accepted' in screen and 'side.dcm' in screen


def test_accepted_images_are_clean(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ('side.dcm', 'ct.dcm'):
        (folder / name).unlink()
    code, report = _report(folder)
    assert code == 0 and report['clean'] and not report['decoded']
    assert '--pixels decodes the images' in capsys.readouterr().out


def test_pixels_are_decoded_on_request(folder: Path) -> None:
    png = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (128, 128), np.uint8)
    Image.fromarray(noise).save(png, 'PNG')
    (folder / 'good.png').write_bytes(png.getvalue())
    (folder / 'bad.png').write_bytes(png.getvalue()[:200])
    (folder / 'two').write_bytes(_dicom()[:-9000])
    _, headers = _report(folder)
    assert len(headers['refused']) == 2 and headers['other_images'] == 2
    code, report = _report(folder, '--pixels')
    assert code == 1 and report['decoded']
    refused = {item['file'] for item in report['refused']}
    assert refused == {'side.dcm', 'ct.dcm', 'bad.png', 'two'}
    assert (report['dicom'], report['other_images']) == (2, 1)


def test_a_zip_file_is_unpacked(folder: Path) -> None:
    archive = folder.parent / 'images.zip'
    with zipfile.ZipFile(archive, 'w') as content:
        content.write(folder / 'one.dcm', 'a/one.dcm')
    assert _run('--images', archive) == 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--min-side', '10'), '--images does not go with --min-side'),
        (('--metadata', 'table.csv'), '--images does not go with --metadata'),
    ],
)
def test_options_of_a_data_root_are_refused(
    options: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run('--images', folder, *options) == 1
    assert message in capsys.readouterr().err


def test_a_folder_without_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'notes.txt').write_text('nothing')
    assert _run('--images', tmp_path) == 1
    assert 'no DICOM files and no images' in capsys.readouterr().err
