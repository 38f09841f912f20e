"""`convert`: images of every kind and both sources become records, and no image is lost."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import itertools
import json
import os
import re
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.commands import check as check_command
from cli.commands import convert as command
from records import examples, images, metadata, tfrecord
from records.convert.pixels import FITS, to_jpeg
from records.image_header import ImageHeader, inspect
from records.images import ImageError
from records.layout import TABLE_COLUMNS
from records.terminal import printable
from schemas import image_status
from schemas.labels import LABELS
from tests.support import bad_images
from tests.support.encoded_images import encode, pixels, png_chunk, png_header

HEADER = ','.join(TABLE_COLUMNS)


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)), dtype=float)


def run(*options: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(option) for option in options]))


def records_of(out: Path) -> dict[str, examples.XrayRecord]:
    records = {}
    for path in sorted((out / 'data').iterdir()):
        items = list(tfrecord.read(str(path)))
        assert len(items) == tfrecord.promised_count(str(path))
        for item in items:
            assert isinstance(item, tfrecord.Record)
            record = examples.parse(item.payload)
            assert record.image_id
            records[record.image_id] = record
    return records


def report_of(out: Path) -> dict:
    return json.loads((out / 'convert_report.json').read_text())


def positive(record: examples.XrayRecord) -> set[str]:
    return {label for label, value in record.labels.items() if value}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Twelve images in class folders, in files of several kinds."""
    images = tmp_path / 'images'
    for number in range(4):
        write(
            images / 'NORMAL' / f'IM-{number:04d}-0001.jpeg',
            encode(pixels(seed=number), mode='RGB'),
        )
        write(
            images / 'Pneumonia' / f'person{number // 2}_virus_{number}.png',
            encode(pixels(seed=10 + number), 'PNG'),
        )
        write(
            images / 'deep' / 'pleural thickening' / 'more' / f'x{number}.tif',
            encode(pixels(seed=20 + number), 'TIFF'),
        )
    return images


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """Five images as in the NIH release, one RGBA, and a table with one row too many."""
    images = tmp_path / 'nih'
    modes = {
        '00000001_000': 'L',
        '00000001_001': 'RGBA',
        '00000002_000': 'L',
        '00000003_000': 'L',
        '00000003_001': 'L',
    }
    for number, (name, mode) in enumerate(modes.items()):
        write(
            images / f'images_{number:03d}' / 'images' / f'{name}.png',
            encode(pixels(128, 128, number), 'PNG', mode),
        )
    findings = ['Cardiomegaly', 'Cardiomegaly|Emphysema', 'No Finding', 'Hernia', 'Mass', 'Nodule']
    rows = [
        f'{name}.png,{finding},{number},{int(name[:8])},5{number},F,PA,2682,2749,0.143,0.143'
        for number, (name, finding) in enumerate(
            zip([*modes, '00000009_000'], findings, strict=True)
        )
    ]
    write(
        images / 'Data_Entry_2017.csv', '\n'.join((HEADER.replace('Gender', 'Sex'), *rows)).encode()
    )
    return images


def min_is_white(array: np.ndarray) -> bytes:
    """A TIFF as X-ray scanners write it: 0 is white. Pillow itself inverts 8-bit pixels."""
    return encode(array, 'TIFF', tiffinfo={262: 0})


def deep_colour(array: np.ndarray) -> bytes:
    """A PNG with three equal channels of 16 bits."""
    height, width = array.shape
    rows = np.repeat(array[:, :, None], 3, axis=2).astype('>u2').reshape(height, -1)
    ihdr = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    chunks = (
        (b'IHDR', ihdr),
        (b'IDAT', zlib.compress(b''.join(b'\0' + row.tobytes() for row in rows))),
        (b'IEND', b''),
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize(
    ('data', 'bits'),
    [
        pytest.param(encode(pixels(600, 600), quality=95), 8, id='JPEG'),
        pytest.param(encode(pixels(600, 600), mode='RGB', quality=95), 8, id='JPEG RGB'),
        pytest.param(encode(pixels(600, 600), 'PNG'), 8, id='PNG'),
        pytest.param(encode(pixels(600, 600), 'PNG', 'RGBA'), 8, id='PNG RGBA'),
        pytest.param(encode(pixels(600, 600), 'PNG', 'LA'), 8, id='PNG with alpha'),
        pytest.param(encode(pixels(600, 600), 'PNG', 'P'), 8, id='PNG with palette'),
        pytest.param(
            encode(pixels(600, 600).astype(np.uint16) * 257, 'PNG'), 16, id='PNG of 16 bits'
        ),
        pytest.param(
            encode((pixels(600, 600) * (4095 / 255)).astype(np.uint16), 'PNG'),
            12,
            id='PNG of 16 bits, 12 in use',
        ),
        pytest.param(
            encode(pixels(600, 600).astype(np.uint16) * 257, 'TIFF'), 16, id='TIFF of 16 bits'
        ),
        pytest.param(encode(pixels(600, 600), 'BMP'), 8, id='BMP'),
        pytest.param(
            encode(pixels(600, 600), 'TIFF', compression='jpeg', quality=95),
            8,
            id='TIFF with a JPEG',
        ),
        pytest.param(
            encode(pixels(600, 600), 'TIFF', 'RGB', compression='jpeg', quality=95),
            8,
            id='TIFF with an RGB JPEG',
        ),
        pytest.param(encode(pixels(600, 600), mode='CMYK', quality=95), 8, id='JPEG CMYK'),
        pytest.param(
            encode(pixels(600, 600) / np.float32(255), 'TIFF'), 16, id='TIFF of floats from 0 to 1'
        ),
        pytest.param(
            encode(pixels(600, 600).astype(np.float32), 'TIFF'),
            8,
            id='TIFF of floats from 0 to 255',
        ),
        pytest.param(
            encode(np.rint(pixels(600, 600) * (4095 / 255)).astype(np.float32), 'TIFF'),
            12,
            id='TIFF of floats, 12 bits in use',
        ),
        pytest.param(min_is_white(pixels(600, 600)), 8, id='TIFF of 8 bits where 0 is white'),
        pytest.param(
            min_is_white(65535 - pixels(600, 600).astype(np.uint16) * 257),
            16,
            id='TIFF of 16 bits where 0 is white',
        ),
        pytest.param(
            deep_colour(pixels(600, 600).astype(np.uint16) * 257), 16, id='PNG RGB of 16 bits'
        ),
    ],
)
def test_every_kind_of_image_gives_the_same_grey_values(data: bytes, bits: int) -> None:
    result = to_jpeg(data)
    assert inspect(result.jpeg) == ImageHeader('JPEG', 600, 600, 1, 8, True, False)
    assert (result.width, result.height, result.bits) == (600, 600, bits)
    assert np.abs(decoded(result.jpeg) - pixels(600, 600)).mean() < 2.5


def test_an_alpha_channel_that_is_the_same_everywhere_is_dropped() -> None:
    rgba = np.dstack([pixels()] * 3 + [np.zeros((80, 90), np.uint8)])
    assert np.abs(decoded(to_jpeg(encode(rgba, 'PNG'), 90).jpeg).mean() - pixels().mean()) < 1


@pytest.mark.parametrize('mode', ['LA', 'RGBA'])
def test_transparent_parts_become_black(mode: str) -> None:
    """Transparent pixels are invisible, whatever their colour."""
    alpha = np.full((80, 90), 255, np.uint8)
    alpha[:, :30] = 0
    image = np.dstack([pixels()] * (len(mode) - 1) + [alpha])
    result = decoded(to_jpeg(encode(image, 'PNG'), 90, 'pad').jpeg)[5:85]
    assert result[:, :25].max() < 12
    assert np.abs(result[:, 35:] - pixels()[:, 35:]).mean() < 3


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_become_upright(orientation: int, kind: str) -> None:
    upright = pixels(90, 90)
    upright[:20, :40] = 0  # so that no turn or mirror image is like another
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    result = decoded(
        to_jpeg(bad_images.turned(np.ascontiguousarray(stored), orientation, kind), 90).jpeg
    )
    assert np.abs(result - upright).mean() < 4


def test_shrinking_averages() -> None:
    stripes = np.zeros((1200, 1200), np.uint8)
    stripes[:, ::2] = 255
    small = decoded(to_jpeg(encode(stripes, 'PNG')).jpeg)
    assert np.abs(small[:, 3:-3] - 127.5).max() < 12


@pytest.mark.parametrize(
    ('fit', 'borders', 'corner'),
    [('squash', False, 30), ('pad', True, 0), ('crop', False, 200)],
)
def test_images_that_are_not_square(fit: str, borders: bool, corner: int) -> None:
    wide = np.full((100, 300), 200, np.uint8)
    wide[:, :40] = wide[:, -40:] = 30
    wide[10:20, 130:150] = 100
    result = to_jpeg(encode(wide, 'PNG'), 300, fit)
    image = decoded(result.jpeg)
    assert image.shape == (300, 300)
    assert (result.width, result.height) == (300, 100)
    assert (image[:60].max() < 5) == borders
    assert abs(image[2, 2] - corner) < 5
    assert abs(image[150, 150] - 200) < 5


@pytest.mark.real_data
def test_the_encoding_is_that_of_the_real_records(real_data: Path) -> None:
    item = next(tfrecord.read(str(sorted((real_data / 'nih' / 'data').iterdir())[0])))
    real = examples.parse(item.payload).image
    ours = to_jpeg(real).jpeg
    theirs, mine = (Image.open(io.BytesIO(data)) for data in (real, ours))
    assert mine.quantization == theirs.quantization
    assert mine.info['dpi'] == theirs.info['dpi']
    assert abs(len(ours) / len(real) - 1) < 0.1


def two_pages() -> bytes:
    """A TIFF with two images."""
    out = io.BytesIO()
    first, second = (Image.fromarray(pixels(seed=number)) for number in range(2))
    first.save(out, 'TIFF', save_all=True, append_images=[second])
    return out.getvalue()


def cut_jpeg_in_tiff() -> bytes:
    """A TIFF whose JPEG has lost the second half of its pixel data but not its end marker."""
    data = bytearray(encode(pixels(300, 300), 'TIFF', compression='jpeg'))
    tags = Image.open(io.BytesIO(data)).tag_v2
    start, length = tags[273][-1], tags[279][-1]
    data[start + length // 2 : start + length] = b'\xff\xd9' + bytes(length - length // 2 - 2)
    return bytes(data)


@pytest.mark.parametrize(
    ('data', 'kind', 'expected'),
    [
        pytest.param(
            b'', 'undecodable', 'cannot be decoded: not an image of a known format', id='empty file'
        ),
        pytest.param(
            encode(pixels(), 'TIFF')[:2000], 'undecodable', 'cannot be decoded', id='truncated TIFF'
        ),
        pytest.param(
            encode(pixels(), 'TIFF', compression='tiff_lzw')[:-900],
            'undecodable',
            'cannot be decoded',
            id='truncated LZW TIFF',
        ),
        pytest.param(
            encode(pixels(), 'BMP')[:2000], 'undecodable', 'cannot be decoded', id='truncated BMP'
        ),
        pytest.param(
            png_header(20000, 20000), 'too_large', '20000x20000', id='PNG that claims 20000x20000'
        ),
        pytest.param(
            png_header(700, 700),
            'truncated',
            'cannot hold the 700x700 pixels',
            id='PNG without its pixels',
        ),
        pytest.param(
            encode(np.full((70, 70), 70_000, np.int32), 'TIFF'),
            'unsupported',
            'run from 70000 to 70000: expected',
            id='deep',
        ),
        pytest.param(
            encode(pixels() - np.float32(900.5), 'TIFF'),
            'unsupported',
            'run from -876.5 to -653.5, with fractions',
            id='units',
        ),
        pytest.param(
            encode(pixels() * np.float32(np.inf), 'TIFF'),
            'unsupported',
            'not finite',
            id='infinite',
        ),
        pytest.param(
            deep_colour(pixels().astype(np.uint16)),
            'unsupported',
            'grey values below 256',
            id='8 bits in 16-bit colour',
        ),
        pytest.param(two_pages(), 'unsupported', 'it has 2 pages', id='two pages'),
        pytest.param(cut_jpeg_in_tiff(), 'truncated', 'premature end', id='TIFF with a cut JPEG'),
    ],
)
def test_images_that_cannot_be_used(data: bytes, kind: str, expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        to_jpeg(data)
    assert caught.value.kind == kind
    assert expected in str(caught.value)
    assert 'object at 0x' not in str(caught.value)


BAD = {
    **bad_images.BY_HEADER,
    **bad_images.BY_DECODING,
    **{name: (data, image_status.BLANK) for name, data in bad_images.BLANK.items()},
}


@pytest.mark.parametrize('fit', FITS)
@pytest.mark.parametrize(
    ('data', 'kind'), [pytest.param(*case, id=name) for name, case in BAD.items()]
)
def test_damaged_and_blank_images_are_not_converted(data: bytes, kind: str, fit: str) -> None:
    with pytest.raises(ImageError) as caught:
        to_jpeg(data, 100, fit)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(data, id=name)
        for name, data in bad_images.UNSUPPORTED.items()
        if '1 bit' not in name
    ],
)
def test_unsupported_images_become_usable_records(data: bytes) -> None:
    jpeg = to_jpeg(data, bad_images.SIDE).jpeg
    images.decode(jpeg, images.check(jpeg))


def test_class_folders(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    write(folders / 'NORMAL' / 'readme.txt', b'x')
    write(folders / '.hidden' / 'x.png', b'x')
    assert (
        run(
            '--images',
            folders,
            '--out',
            out,
            '--patient-pattern',
            r'^(person\d+)',
            '--shard-size',
            '5',
            '--workers',
            '1',
        )
        == 0
    )
    assert sorted(path.name for path in (out / 'data').iterdir()) == [
        '000-5.tfrec',
        '001-5.tfrec',
        '002-2.tfrec',
    ]
    records = records_of(out)
    assert {name: positive(record) for name, record in records.items()} == {
        **{f'IM-{number:04d}-0001.png': {'No Finding'} for number in range(4)},
        **{f'person{number // 2}_virus_{number}.png': {'Pneumonia'} for number in range(4)},
        **{f'x{number}.png': {'Pleural_Thickening'} for number in range(4)},
    }
    entries = metadata.read_table(str(out / 'metadata' / 'Data_Entry_2017_v2020.csv.gz'))
    assert entries.keys() == records.keys()
    assert [
        entries[f'person{number // 2}_virus_{number}.png'].patient_id for number in range(4)
    ] == [
        'person0',
        'person0',
        'person1',
        'person1',
    ]
    assert entries['IM-0000-0001.png'].patient_id == 'IM-0000-0001'
    report = report_of(out)
    assert (report['converted'], report['failed'], report['patients']) == (12, [], 10)
    assert (report['images_without_known_patient'], report['ignored_files']) == (
        8,
        {'.txt': 1, 'hidden': 1},
    )


def test_order_mixes_classes(folders: Path, tmp_path: Path) -> None:
    run('--images', folders, '--out', tmp_path / 'out', '--workers', '1')
    labels = [min(positive(record)) for record in records_of(tmp_path / 'out').values()]
    assert labels != sorted(labels)
    assert sum(one != two for one, two in itertools.pairwise(labels)) > 3


def test_unknown_patients_give_a_warning(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1') == 0
    assert 'the patient of 12 of 12 images is unknown' in capsys.readouterr().err


def test_the_output_depends_only_on_the_input(folders: Path, tmp_path: Path) -> None:
    contents = []
    for workers in ('1', '3'):
        out = tmp_path / workers
        assert run('--images', folders, '--out', out, '--workers', workers) == 0
        contents.append(
            {
                path.relative_to(out): path.read_bytes()
                for path in sorted(out.rglob('*'))
                if path.is_file()
            }
        )
    assert contents[0] == contents[1]
    assert len(contents[0]) == 4


def test_nih_release(nih: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    assert run('--images', nih, '--out', out, '--workers', '1') == 0
    records = records_of(out)
    assert positive(records['00000001_001.png']) == {'Cardiomegaly', 'Emphysema'}
    assert positive(records['00000002_000.png']) == {'No Finding'}
    with gzip.open(out / 'metadata' / 'Data_Entry_2017_v2020.csv.gz', 'rt') as file:
        lines = file.read().splitlines()
    assert lines[0] == HEADER
    assert lines[2] == '00000001_001.png,Cardiomegaly|Emphysema,1,1,51,F,PA,2682,2749,0.143,0.143'
    rows = list(csv.reader((out / 'preprocessed_data.csv').open()))
    assert rows[0] == ['', *LABELS]
    assert rows[1][0] == '../input/data/images_000/images/00000001_000.png'
    assert [name for name, value in zip(rows[0], rows[2], strict=True) if value == 'True'] == [
        'Emphysema',
        'Cardiomegaly',
    ]
    assert report_of(out)['table_rows_without_image'] == 1


@pytest.mark.parametrize('source', ['folders', 'nih'])
def test_check_finds_a_converted_data_set_clean(
    source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    assert run('--images', request.getfixturevalue(source), '--out', out, '--workers', '1') == 0
    parser = argparse.ArgumentParser()
    check_command.add_arguments(parser)
    assert (
        check_command.run(
            parser.parse_args(['--data-root', str(out), '--pixels', '--workers', '1'])
        )
        == 0
    )


@pytest.mark.real_data
def test_header_of_the_table_is_the_real_one(real_data: Path) -> None:
    with gzip.open(real_data / 'nih' / 'metadata' / 'Data_Entry_2017_v2020.csv.gz', 'rt') as file:
        assert file.readline().strip() == HEADER


@pytest.mark.parametrize('allowed', [0.01, 0.3], ids=['too many failed', 'fewer than allowed'])
def test_failures_are_listed_and_counted(
    folders: Path, tmp_path: Path, allowed: float, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {
        'empty.png': (b'', 'cannot be decoded'),
        'cut.jpeg': (encode(pixels())[:-100], 'cut off'),
    }
    bad['[tiny].png'] = (encode(pixels(2, 2), 'PNG'), '2x2 pixels')
    for name, (data, _) in bad.items():
        write(folders / 'NORMAL' / name, data)
    out = tmp_path / 'out'
    code = run('--images', folders, '--out', out, '--workers', '1', '--max-failed', str(allowed))
    assert code == (1 if allowed < 0.2 else 0)
    assert len(records_of(out)) == 12
    failed = {entry['file']: entry['reason'] for entry in report_of(out)['failed']}
    assert failed.keys() == {f'NORMAL/{name}' for name in bad}
    output = capsys.readouterr().out
    for name, (_, expected) in bad.items():
        assert expected in failed[f'NORMAL/{name}']
        assert f'NORMAL/{name}' in output


def test_nih_images_that_the_table_does_not_explain_are_failures(nih: Path, tmp_path: Path) -> None:
    write(nih / 'images_000' / 'images' / '00000007_000.png', encode(pixels(), 'PNG'))
    table = nih / 'Data_Entry_2017.csv'
    table.write_text(table.read_text().replace('Hernia', 'Lumbago'))
    out = tmp_path / 'out'
    assert run('--images', nih, '--out', out, '--workers', '1') == 1
    reasons = {Path(entry['file']).name: entry['reason'] for entry in report_of(out)['failed']}
    assert 'no row for 00000007_000.png' in reasons['00000007_000.png']
    assert "'Lumbago'" in reasons['00000003_000.png']
    assert len(records_of(out)) == 4


def test_without_usable_images_only_the_report_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / 'images' / 'Mass' / 'a.png', b'')
    out = tmp_path / 'out'
    assert run('--images', tmp_path / 'images', '--out', out, '--workers', '1') == 1
    assert 'none of 1 images could be converted' in capsys.readouterr().err
    assert not list((out / 'data').iterdir())
    assert len(report_of(out)['failed']) == 1


def _collide(images: Path) -> None:
    write(images / 'Mass' / 'IM-0001-0001.png', encode(pixels(), 'PNG'))


def _strange(images: Path) -> None:
    write(images / 'healthy' / 'a.png', encode(pixels(), 'PNG'))


@pytest.mark.parametrize(
    ('change', 'options', 'expected'),
    [
        pytest.param(
            _collide,
            [],
            [
                'NORMAL/IM-0001-0001.jpeg',
                'Mass/IM-0001-0001.png',
                "'IM-0001-0001.png'",
                '--ids path',
            ],
            id='ids collide',
        ),
        pytest.param(
            _strange,
            [],
            ['healthy (1 images)', '--class-map', 'No Finding'],
            id='a folder that names no label',
        ),
        pytest.param(
            None,
            ['--class-map', 'NORMAL=Fine'],
            ["'Fine' is not a label"],
            id='class map to no label',
        ),
        pytest.param(
            None,
            ['--class-map', 'NORMAL'],
            ["expected the form 'FOLDER=Label'"],
            id='class map of another form',
        ),
        pytest.param(
            None,
            ['--patient-pattern', 'person'],
            ['--patient-pattern', '0 groups'],
            id='pattern without a group',
        ),
        pytest.param(None, ['--size', '5'], ['--size is 5: expected at least 64'], id='size'),
        pytest.param(None, ['--max-failed', '5'], ['--max-failed is 5.0'], id='share'),
        pytest.param(
            None,
            ['--table', 'gone.csv'],
            ['--table gone.csv: no such file'],
            id='table that is not there',
        ),
    ],
)
def test_unusable_input_is_refused(
    change, options: list[str], expected: list[str], folders: Path, tmp_path: Path, capsys
) -> None:
    if change:
        change(folders)
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1', *options) == 1
    message = capsys.readouterr().err
    assert all(part in message for part in expected), message
    assert not (tmp_path / 'out' / 'data').exists()


@pytest.mark.parametrize(
    'link',
    [
        pytest.param(lambda images: (images / 'NORMAL' / 'up').symlink_to('..'), id='folder above'),
        pytest.param(
            lambda images: (images / 'NORMAL' / 'up').symlink_to('../..'), id='above the images'
        ),
        pytest.param(lambda images: (images / 'Mass').symlink_to('NORMAL'), id='another class'),
    ],
)
@pytest.mark.parametrize('ids', ['name', 'path'])
def test_links_do_not_repeat_images(
    link: Callable[[Path], None], ids: str, folders: Path, tmp_path: Path
) -> None:
    link(folders)
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1', '--ids', ids) == 0
    assert report_of(tmp_path / 'out')['converted'] == 12
    assert report_of(tmp_path / 'out')['labels'] == {
        'No Finding': 4,
        'Pleural_Thickening': 4,
        'Pneumonia': 4,
    }


def test_two_names_of_one_file_are_one_image(folders: Path, tmp_path: Path) -> None:
    os.link(folders / 'NORMAL' / 'IM-0000-0001.jpeg', folders / 'NORMAL' / 'copy.jpeg')
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1') == 0
    assert report_of(tmp_path / 'out')['ignored_files'] == {'links to other files here': 1}
    assert len(records_of(tmp_path / 'out')) == 12


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ('name', 'make', 'expected'),
    [
        pytest.param(
            'film.dcm', lambda path: path.write_bytes(bytes(128) + b'DICM'), 'DICOM', id='DICOM'
        ),
        pytest.param(
            '1.2.840.113619',
            lambda path: path.write_bytes(bytes(128) + b'DICM'),
            'DICOM',
            id='DICOM without suffix',
        ),
        pytest.param(
            'film.webp',
            lambda path: path.write_bytes(b'RIFF'),
            '.webp files are not read',
            id='another image',
        ),
        pytest.param('film.png', _fifo, 'a FIFO, expected a regular file', id='FIFO'),
        pytest.param(
            'film.png',
            lambda path: path.symlink_to('gone.png'),
            'a link to a missing file',
            id='link to nothing',
        ),
        pytest.param(
            os.fsdecode(b'gr\xfc\xdf.png'),
            lambda path: path.write_bytes(b''),
            'not UTF-8: rename it',
            id='name that is not UTF-8',
        ),
        pytest.param(
            'two\nlines.png',
            lambda path: path.write_bytes(b''),
            'line break: rename it',
            id='line break in a name',
        ),
    ],
)
def test_an_unreadable_image_is_a_failure(
    name: str, make: Callable[[Path], object], expected: str, folders: Path, tmp_path: Path
) -> None:
    make(folders / 'NORMAL' / name)
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1') == 1
    (failed,) = report_of(tmp_path / 'out')['failed']
    assert failed['file'] == f'NORMAL/{printable(name)}'
    assert expected in failed['reason']
    assert len(records_of(tmp_path / 'out')) == 12


def test_every_ignored_file_is_counted_by_type(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ('a.txt', 'b.txt', 'c.CSV', 'Thumbs.db'):
        write(folders / 'NORMAL' / name, b'x')
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1') == 0
    assert report_of(tmp_path / 'out')['ignored_files'] == {'.csv': 1, '.db': 1, '.txt': 2}
    output = capsys.readouterr().out
    assert [
        re.search(rf'ignored: {kind} +│ +(\d)', output)[1] for kind in (r'\.csv', r'\.db', r'\.txt')
    ] == ['1', '1', '2']


@pytest.mark.parametrize('ids', ['name', 'path'])
@pytest.mark.parametrize('folder', ['', 'metadata/'])
def test_the_official_lists_are_converted(ids: str, folder: str, nih: Path, tmp_path: Path) -> None:
    write(
        nih / f'{folder}train_val_list.txt',
        b'00000001_000.png\n00000001_001.png\n00000009_000.png\n',
    )
    write(
        nih / f'{folder}test_list.txt.gz',
        gzip.compress(b'00000002_000.png\n00000003_000.png\n00000003_001.png'),
    )
    out = tmp_path / 'out'
    assert run('--images', nih, '--out', out, '--workers', '1', '--ids', ids) == 0
    train_val, test = (
        metadata.read_list(str(out / 'metadata' / f'{name}_list.txt.gz'))
        for name in ('train_val', 'test')
    )
    records = records_of(out)
    assert {name[-16:] for name in records if name in train_val} == {
        '00000001_000.png',
        '00000001_001.png',
    }
    assert {name[-16:] for name in records if name in test} == {
        '00000002_000.png',
        '00000003_000.png',
        '00000003_001.png',
    }
    assert set(train_val) - records.keys() == {'00000009_000.png'}
    assert report_of(out)['split_lists'] == {'train_val_list': 3, 'test_list': 3}
    assert report_of(out)['ignored_files'] == {}
    # A data set without lists does not keep those of the one that it replaces.
    for path in nih.rglob('*_list.txt*'):
        path.unlink()
    assert run('--images', nih, '--out', out, '--workers', '1', '--overwrite') == 0
    assert not list((out / 'metadata').glob('*_list*'))


def test_the_official_lists_beside_a_table_that_is_elsewhere(nih: Path, tmp_path: Path) -> None:
    table = tmp_path / 'release' / 'Data_Entry_2017.csv'
    table.parent.mkdir()
    (nih / table.name).rename(table)
    write(table.parent / 'test_list.txt', b'00000001_000.png')
    assert run('--images', nih, '--table', table, '--out', tmp_path / 'out', '--workers', '1') == 0
    assert report_of(tmp_path / 'out')['split_lists'] == {'test_list': 1}
    assert set(metadata.read_list(str(tmp_path / 'out' / 'metadata' / 'test_list.txt.gz'))) == {
        '00000001_000.png'
    }


def test_common_forms_of_the_table(
    nih: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = nih / 'Data_Entry_2017.csv'
    text = (
        table.read_text()
        .replace(',', ';')
        .replace('No Finding', 'no finding')
        .replace('Cardiomegaly;', 'cardiomegaly|;')
    )
    text = (
        text.replace(';1;50;', ';1.0;013M;')
        .replace('00000002_000.png', 'images_002/00000002_000.PNG')
        .replace(';F;', ';female;')
    )
    table.write_text(text.replace(';52;', ';old;'))
    out = tmp_path / 'out'
    assert run('--images', nih, '--out', out, '--workers', '1') == 0
    entries = metadata.read_table(str(out / 'metadata' / 'Data_Entry_2017_v2020.csv.gz'))
    assert {name: positive(record) for name, record in records_of(out).items()} == {
        name: set(entry.findings) for name, entry in entries.items()
    }
    assert entries['00000001_000.png'] == metadata.Entry(
        '00000001', 1, 'F', 'PA', 0, ('Cardiomegaly',)
    )
    assert entries['00000002_000.png'] == metadata.Entry(
        '00000002', -1, 'F', 'PA', 2, ('No Finding',)
    )
    assert len(entries) == 5
    (problem,) = report_of(out)['table_problems']
    assert problem == "Patient Age: not an age from 0 to 120: unknown (1 row in line 4: 'old')"
    assert problem in capsys.readouterr().err


def test_a_conversion_that_was_killed_starts_again(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The killed conversion left record files, but no report."""
    out = tmp_path / 'out'
    command._clear(out)
    write(out / 'data' / '.partial' / '1', b'half a shard')
    write(out / 'data' / '000-99.tfrec', b'of another shard size')
    assert run('--images', folders, '--out', out, '--workers', '1') == 0
    assert 'an earlier conversion did not finish; starting again' in capsys.readouterr().err
    assert len(records_of(out)) == 12
    assert sorted(path.name for path in out.iterdir()) == [
        'convert_report.json',
        'data',
        'metadata',
        'preprocessed_data.csv',
    ]
    # A complete data set is replaced only with --overwrite.
    assert run('--images', folders, '--out', out, '--workers', '1') == 1
    assert (
        'the folder is not empty. Choose another one, or use --overwrite' in capsys.readouterr().err
    )


def test_foreign_records_are_not_mixed_with_new_ones(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    write(out / 'more' / '000-1.tfrec.gz', b'x')
    assert run('--images', folders, '--out', out, '--workers', '1', '--overwrite') == 1
    assert (
        'the folder has 1 record files that convert did not write, such as more/000-1.tfrec.gz'
        in capsys.readouterr().err
    )
    assert [path.name for path in out.iterdir()] == ['more']


def test_ids_from_the_path_resolve_a_collision(folders: Path, tmp_path: Path) -> None:
    _collide(folders)
    assert (
        run('--images', folders, '--out', tmp_path / 'out', '--workers', '1', '--ids', 'path') == 0
    )
    assert {'NORMAL-IM-0001-0001.png', 'Mass-IM-0001-0001.png'} <= records_of(
        tmp_path / 'out'
    ).keys()
    assert report_of(tmp_path / 'out')['patients'] == 13


def test_class_map(folders: Path, tmp_path: Path) -> None:
    _strange(folders)
    options = [
        '--class-map',
        'Healthy=No Finding',
        '--class-map',
        'pneumonia=Mass|edema',
        '--class-map',
        'pleural thickening=',
    ]
    assert run('--images', folders, '--out', tmp_path / 'out', '--workers', '1', *options) == 0
    records = records_of(tmp_path / 'out')
    assert positive(records['a.png']) == {'No Finding'}
    assert positive(records['person0_virus_0.png']) == {'Mass', 'Edema'}
    assert 'x0.png' not in records
    assert report_of(tmp_path / 'out')['left_out'] == 4


@pytest.mark.parametrize('images', ['empty', 'gone'])
def test_no_images(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'empty').mkdir()
    assert run('--images', tmp_path / images, '--out', tmp_path / 'out') == 1
    assert images in capsys.readouterr().err


def test_a_folder_with_files_is_refused(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    write(out / 'data' / '000-1.tfrec', b'old')
    other = write(out / 'notes.txt', b'mine')
    assert run('--images', folders, '--out', out, '--workers', '1') == 1
    assert '--overwrite' in capsys.readouterr().err
    assert (out / 'data' / '000-1.tfrec').read_bytes() == b'old'
    assert run('--images', folders, '--out', out, '--workers', '1', '--overwrite') == 0
    assert len(records_of(out)) == 12
    assert other.read_bytes() == b'mine'


def test_a_full_disk_leaves_no_data_behind(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A limit on the size of a file stands in for a full disk: writing fails with an OSError in the
    # middle of a shard.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        code = run('--images', folders, '--out', tmp_path / 'out', '--workers', '1')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert 'not complete' in capsys.readouterr().err
    assert not list((tmp_path / 'out').rglob('*.tfrec'))
    assert not list((tmp_path / 'out' / 'data').iterdir())


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.long
def test_the_pediatric_set(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    pattern = r'^(person\d+|(?:NORMAL\d*-)?IM-\d+)'
    assert run('--images', real_data / 'pediatric', '--out', out, '--patient-pattern', pattern) == 0
    report = report_of(out)
    assert report['labels'] == {'No Finding': 1351, 'Pneumonia': 3673}
    assert (report['failed'], report['images_without_known_patient']) == ([], 0)
    assert len(records_of(out)) == 5024
