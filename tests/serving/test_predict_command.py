"""`cxr-triage predict`: scores of files, from folders, push directories and model servers."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from cli.main import main
from components.serving_check.session_model import SessionModel
from records.example_proto import Example
from records.examples import put_bytes, serialize
from schemas import signatures
from schemas.features import IMAGE
from serving.image_formats import dicom, png
from serving.predictions import table
from serving.predictions.scoring import Answer
from tests.support import gateways
from tests.support.model_servers import MODEL


@dataclasses.dataclass
class _Named:
    """A model of which only the number is asked."""

    version: str
    source: str = ''
    threshold: float | None = None

    def run(self, signature: signatures.Signature, images: Sequence[bytes]) -> dict:
        raise AssertionError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a JPEG, a PNG, a DICOM image without a suffix, and a text."""
    folder = tmp_path / 'images'
    (folder / 'below').mkdir(parents=True)
    (folder / 'a.jpg').write_bytes(gateways.jpeg(1))
    (folder / 'below' / 'b.PNG').write_bytes(gateways.png(gateways.pixels(2)))
    film = gateways.dicom(gateways.pixels(3), Modality='RG')
    (folder / 'below' / 'IM0001').write_bytes(film)
    (folder / 'notes.txt').write_text('none of them')
    return folder


def _predict(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(['predict', *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def _of_gate(version: Path, contents: list[bytes]) -> list[float]:
    """The probabilities that the Evaluator gets for images."""
    examples = [Example() for _ in contents]
    for example, content in zip(examples, contents, strict=True):
        put_bytes(example, IMAGE, content)
    serialized = [serialize(example) for example in examples]
    return SessionModel(str(version)).score(signatures.EXAMPLES, serialized).probability.tolist()


def test_scores_are_those_of_the_gate(
    pushed: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / 'new'
    code, printed, notes = _predict(
        capsys,
        images,
        *('--target', pushed, '--csv', out / 'all.csv', '--json', out / 'all.json'),
        *('--html', out / 'all.html'),
    )
    assert code == 0, notes
    assert 'left out as no images: 1 .txt' in notes
    shown = png.encode(dicom.render((images / 'below' / 'IM0001').read_bytes()).pixels)
    contents = [gateways.jpeg(1), (images / 'below' / 'b.PNG').read_bytes(), shown]
    names = [str(images / name) for name in ('a.jpg', 'below/b.PNG', 'below/IM0001')]
    expected = dict(zip(names, _of_gate(pushed / '2', contents), strict=True))

    answers = json.loads((out / 'all.json').read_text())
    assert answers['model'] == {'version': '2', 'source': str(pushed / '2'), 'threshold': 0.5}
    scores = {row['file']: row['probability'] for row in answers['images']}
    assert scores == pytest.approx(expected, abs=1e-6)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    rows = list(csv.DictReader(io.StringIO((out / 'all.csv').read_text())))
    assert {row['file']: float(row['probability']) for row in rows} == scores
    assert [row['flag'] for row in rows] == [str(int(score >= 0.5)) for score in scores.values()]
    assert '3 images scored' in printed

    notes_of = {row['file']: row['notes'] for row in rows}
    assert notes_of[names[2]].startswith('Modality (0008,0060) is RG') and not notes_of[names[0]]
    page = (out / 'all.html').read_text()
    assert 'Modality (0008,0060) is RG' in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    pictures = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', page)
    assert [kind for kind, _ in pictures] == ['jpeg', 'png'] * 3
    for kind, content in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert (image.size, image.mode) == (
            ((224, 224), 'L') if kind == 'jpeg' else (image.size, 'RGBA')
        )
    # In DICOM headers are names.
    assert 'Zzyzx' not in page


def test_damaged_files_are_listed_first_and_the_others_scored(
    pushed: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (images / 'cut.jpg').write_bytes(gateways.jpeg(1)[:2000])
    (images / 'text.png').write_text('no image')
    (images / 'upside down.png').write_bytes(gateways.png(gateways.pixels(1)[::-1]))
    written, page = tmp_path / 'all.csv', tmp_path / 'all.html'
    code, _, errors = _predict(
        capsys, images, '--version', pushed / '1', '--csv', written, '--html', page
    )
    assert code == 1
    assert '2 of 6 files were not assessed' in errors
    rows = list(csv.DictReader(io.StringIO(written.read_text())))
    found = {Path(row['file']).name: row for row in rows}
    assert [Path(row['file']).name for row in rows[:2]] == ['cut.jpg', 'text.png']
    for name, status, reason in (
        ('cut.jpg', 'truncated', 'A part of the file is missing.'),
        ('text.png', 'not_read', 'the file is not a PNG, JPEG or DICOM image'),
    ):
        row = found[name]
        assert (row['status'], row['reason']) == (status, reason)
        assert (row['probability'], row['flag']) == ('', '1')
    assert 'rotated' in found['upside down.png']['warning']
    assert found['upside down.png']['probability']
    assert not found['a.jpg']['warning']
    assert page.read_text().count('Not assessed') == 2


def test_a_model_server_answers_alike(
    pushed: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scores = []
    with gateways.model_server('embedded', pushed, tmp_path) as address:
        for source in (
            ('--model-server', f'grpc://{address}', '--model', MODEL),
            ('--version', pushed / '2'),
        ):
            written, page = tmp_path / 'all.json', tmp_path / 'page.html'
            code, _, errors = _predict(
                capsys, images, *source, '--json', written, '--html', page, '--html-images', 1
            )
            assert code == 0, errors
            assert 'shows the first 1.' in page.read_text()
            assert page.read_text().count('class="heat"') == 1
            answers = json.loads(written.read_text())
            assert answers['model']['version'] == '2'
            scores.append({row['file']: row['probability'] for row in answers['images']})
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_findings_are_columns_in_the_order_of_the_labels() -> None:
    model = _Named('7')
    answers = [
        Answer(
            '=a.png', 'ok', '', 0.75, True, '', ('Film.', 'Old.'), {'Effusion': 0.5, 'Mass': 0.25}
        ),
        Answer('b.png', 'blank', 'The image shows nothing.'),
    ]
    rows = list(csv.reader(io.StringIO(table.to_csv(model, answers).decode())))
    assert rows[0][-3:] == ['version', 'Effusion', 'Mass']
    # A spreadsheet must not run a file name.
    assert rows[1] == ["'=a.png", 'ok', '', '0.75', '1', '', 'Film.; Old.', '7', '0.5', '0.25']
    assert rows[2] == ['b.png', 'blank', 'The image shows nothing.', '', '1', '', '', '7', '', '']


def test_errors_say_what_to_do(
    pushed: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'empty').mkdir()
    for arguments, expected in (
        ((tmp_path / 'none.png', '--target', pushed), 'none.png: no such file or folder'),
        ((tmp_path / 'empty', '--target', pushed), 'there is no PNG, JPEG or DICOM image'),
        ((images, '--target', tmp_path / 'empty'), 'no version was pushed'),
        ((images, '--version', images), 'there is no saved_model.pb'),
        ((images, '--root', tmp_path / 'nowhere'), 'nowhere: no such directory'),
        ((images, '--model-server', gateways.NO_MODEL_SERVER), 'does not answer'),
        ((images, '--model-server', 'http://host'), 'expected grpc://HOST:PORT'),
        ((images, '--target', pushed, '--csv', tmp_path), '--csv'),
        ((images, '--target', pushed, '--html-images', -1), 'expected 0 or more'),
    ):
        code, printed, errors = _predict(capsys, *arguments)
        assert (code, printed) == (1, ''), (arguments, errors)
        assert errors.splitlines()[-1].startswith('cxr-triage predict: '), errors
        assert expected in errors
