"""`cxr-triage monitor` on a run root and a gateway's database: what it says, and its exit codes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from cli import main as cli
from components.evaluator.predictions import LABEL
from monitoring import alarm_webhook, embeddings
from pipeline.run_record import PUSHED
from pipeline.steps import EVALUATOR, INGESTION, PUSHER
from records import tfrecord
from records.examples import build
from schemas.features import IMAGE_ID, PATIENT_ID
from schemas.labels import LABELS
from schemas.signatures import EMBEDDING, EMBEDDING_SIZE, FLAG, PROBABILITY
from serving import descriptions, running, studies, uploads
from serving.assessment import description
from serving.database import connection, tables
from serving.image_files import ImageFiles
from serving.studies import NewImage, Outcome
from tests.support import gateways, kept_predictions, report_receivers
from tests.support.synthetic_root import RootBuilder

_RUN = '2026-11-01T08:00:00'
_VERSION = 3
_IMAGES = 40


def _outcome(row: int, reason: str = '', embedding: bytes | None = None) -> Outcome:
    """Every second image is abnormal; the model is right about nine of ten."""
    is_flagged = (row % 2 == 1) != (row % 10 == 0)
    probability = 0.8 if is_flagged else 0.2
    if reason:
        return Outcome(_VERSION, None, True, reason, 0.5)
    return Outcome(_VERSION, probability, is_flagged, '', 0.5, None, embedding)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run that pushed the version, with its test images."""
    builder = RootBuilder(tmp_path / 'root')
    builder.record(_RUN, state=PUSHED)
    examples = builder.step(_RUN, INGESTION.name, outputs={'examples': {}})['examples']
    evaluation = builder.step(_RUN, EVALUATOR.name, outputs={'evaluation': {}})['evaluation']
    builder.step(_RUN, PUSHER.name, outputs={'pushed_model': {'pushed_version': str(_VERSION)}})
    names = [f'{row:08d}_000.png' for row in range(_IMAGES)]
    split = builder.folder(INGESTION.name, 'examples', examples) / 'Split-test'
    split.mkdir()
    (split / 'data').write_bytes(
        b''.join(
            tfrecord.frame(build(gateways.jpeg(row), name, dict.fromkeys(LABELS, 0)))
            for row, name in enumerate(names)
        )
    )
    kept_predictions.write(
        builder.folder(EVALUATOR.name, 'evaluation', evaluation),
        [
            {
                IMAGE_ID: name,
                PATIENT_ID: str(row),
                LABEL: row % 2,
                PROBABILITY: _outcome(row).probability,
                FLAG: int(_outcome(row).flag),
            }
            for row, name in enumerate(names)
        ],
    )
    return builder.root


def _receive(
    root: Path,
    contents: list[bytes],
    reason: str = '',
    reads: bool = False,
    site: str = '',
    seen: Sequence[np.ndarray] = (),
) -> None:
    """Studies with an image each, answered, and read correctly if `reads`."""
    data = root / running.FOLDER
    sessions = connection.connect(connection.sqlite_url(data / 'gateway.sqlite'))
    files = ImageFiles(data / running.IMAGES)
    with sessions.begin() as session:
        for row, content in enumerate(contents):
            image = NewImage(studies.new_id(), uploads.check(content), '0' * 64, len(content))
            files.write(image.id, content)
            study = studies.accept(session, [image], 'test', '', site)
            session.flush()
            embedding = seen[row].astype('<f4').tobytes() if len(seen) else None
            studies.record_answers(session, [(study, [_outcome(row, reason, embedding)])])
            if reads:
                verdict = 'abnormal' if row % 2 else 'normal'
                studies.add_reading(session, study, f'reader {row % 2}', verdict, [], '')
    sessions.kw['bind'].dispose()


def _inverted(content: bytes) -> bytes:
    stream = io.BytesIO()
    ImageOps.invert(Image.open(io.BytesIO(content)).convert('L')).save(stream, 'JPEG', quality=90)
    return stream.getvalue()


def _monitor(root: Path, *more: str) -> int:
    return cli.main(['monitor', '--root', str(root), '--window', str(_IMAGES), *more])


def _result(root: Path) -> dict:
    return json.loads((root / running.FOLDER / 'monitor' / 'monitor.json').read_text())


def _site(root: Path) -> dict:
    """The result of the only site."""
    (site,) = _result(root)['sites']
    return site


def _metrics(root: Path) -> dict[tuple[str, str, str | None], float]:
    """(name, site, what) -> value."""
    text = (root / running.FOLDER / 'monitor' / 'monitor.prom').read_text()
    return {
        (sample.name, sample.labels.get('site', ''), sample.labels.get('what')): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_story(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = [gateways.jpeg(row) for row in range(100, 100 + _IMAGES)]
    _receive(root, same, reads=True)
    assert _monitor(root) == 0, capsys.readouterr()
    result = _result(root)
    assert not result['alarm']
    site = _site(root)
    assert [item['name'] for item in site['compared']] == ['test images']
    assert site['window']['image_count'] == site['window']['described'] == _IMAGES
    # 4 of 20 normal images are flagged, and no abnormal one is missed.
    figures = result['labels']['periods'][0]['figures']
    assert figures['sensitivity']['value'] == 1
    assert figures['specificity']['value'] == pytest.approx(0.8)
    assert figures['kappa']['value'] == pytest.approx(0.8)
    assert len(result['labels']['overcalled']) == 4
    assert result['labels']['missed'] == []
    assert site['estimate']['by_flags']['value'] == pytest.approx(0.5)

    _receive(root, [_inverted(content) for content in same], reason='inverted')
    assert _monitor(root) == 1
    printed = capsys.readouterr().out
    assert 'last good window: p = 0.0005, alarm: ' in printed
    assert 'Not assessed, share' in printed
    assert _site(root)['window']['reasons'] == {'inverted': _IMAGES}
    assert _site(root)['estimate'] is None
    page = (root / running.FOLDER / 'monitor' / 'index.html').read_text()
    assert 'The image looks inverted' in page
    metrics = _metrics(root)
    assert metrics['cxr_monitor_alarm', '', None] == 1
    assert metrics['cxr_monitor_share', '', 'not_assessed'] == 1

    assert _monitor(root, '--accept') == 0
    _receive(root, [_inverted(gateways.jpeg(row)) for row in range(200, 240)], reason='inverted')
    assert _monitor(root) == 0
    assert [item['name'] for item in _site(root)['compared']] == ['accepted window']


def test_what_the_network_sees_is_compared(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images like the test images, which the network sees otherwise."""
    from tests.support import tiny_model

    model = root / 'serving' / str(_VERSION)
    tiny_model.export(model)
    contents = [gateways.jpeg(row) for row in range(100, 100 + _IMAGES)]
    answers = embeddings.answers(str(model), enumerate(contents))
    seen = np.array([outputs[EMBEDDING] for _, _, outputs in answers])
    _receive(root, contents, seen=seen)
    assert _monitor(root) == 0
    names = [item['name'] for item in _site(root)['compared'][0]['result']['differences']]
    assert {EMBEDDING, 'pattern'} <= set(names)
    _receive(root, contents, seen=seen + np.linspace(0, 10, EMBEDDING_SIZE))
    assert _monitor(root) == 1
    assert 'alarm: What the network sees in the image (embedding)' in capsys.readouterr().out


def test_a_table_of_labels_is_compared_with_the_answers(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _receive(root, [gateways.jpeg(row) for row in range(100, 100 + _IMAGES)])
    sessions = connection.connect(connection.sqlite_url(root / 'service' / 'gateway.sqlite'))
    with sessions() as session:
        ids = list(session.scalars(select(tables.Study.id).order_by(tables.Study.number)))
    sessions.kw['bind'].dispose()
    table = root / 'labels.csv'
    rows = [f'{id},{"abnormal" if row % 2 else "normal"}' for row, id in enumerate(ids)]
    table.write_text('\n'.join(['study,label', *rows, 'unknown,normal']))
    assert _monitor(root, '--labels', str(table)) == 0
    result = _result(root)
    assert result['labels'] is None
    assert (result['table']['rows'], result['table']['matched']) == (_IMAGES + 1, _IMAGES)
    figures = result['table']['labels']['periods'][0]['figures']
    assert figures['specificity']['value'] == pytest.approx(0.8)
    page = (root / running.FOLDER / 'monitor' / 'index.html').read_text()
    assert '40 of its 41 rows name a study' in page
    assert _metrics(root)['cxr_monitor_measured_with_table', '', 'sensitivity'] == 1

    table.write_text('study,label\n1,sick')
    assert _monitor(root, '--labels', str(table)) == 2
    assert "line 2: label is 'sick'" in capsys.readouterr().err


def test_files_that_were_removed_are_counted(root: Path) -> None:
    _receive(root, [gateways.jpeg(row) for row in range(100, 100 + _IMAGES)])
    for path in sorted((root / running.FOLDER / running.IMAGES).glob('??/*'))[:5]:
        path.unlink()
    _monitor(root)
    assert _site(root)['window']['described'] == _IMAGES - 5
    assert (
        '5 images have no descriptors'
        in (root / running.FOLDER / 'monitor' / 'index.html').read_text()
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--version', '9'], 'no run made version 9'),
        (['--alpha', '0'], '--alpha 0.0: expected 0.001 to 0.5'),
        (['--window', '5'], '--window 5: expected at least 20'),
        (['--site', 'North'], "about 0 studies of the site 'North': expected at least 20"),
        (['--site', 's' * 65], 'at most 64 printable characters'),
        (['--webhook', 'https://x'], '--webhook and --webhook-key: give both'),
        (['--webhook', 'https://x', '--webhook-key', '/dev/null'], 'whsec_KEY'),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_errors_are_no_alarms(
    root: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _receive(root, [gateways.jpeg(1)])
    assert _monitor(root, *options) == 2
    assert message in capsys.readouterr().err


def test_no_studies_is_an_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _receive(root, [])
    assert _monitor(root) == 2
    assert 'no study has an answer yet' in capsys.readouterr().err


def test_a_reference_without_its_examples_is_an_error(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _receive(root, [gateways.jpeg(1)])
    (next(root.glob('artifacts/*/examples/*/Split-test')) / 'data').unlink()
    assert _monitor(root) == 2
    assert 'nothing to compare images with' in capsys.readouterr().err


def test_an_unexpected_error_is_no_alarm(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _receive(root, [gateways.jpeg(row) for row in range(2)])
    folder = root / running.FOLDER / 'monitor'
    folder.mkdir()
    np.savez(folder / f'reference-{_VERSION}.npz', run='damaged', revision=description.REVISION)
    assert _monitor(root) == 2
    assert 'unexpected KeyError' in capsys.readouterr().err


def test_descriptions_outlive_the_files(root: Path) -> None:
    contents = [gateways.jpeg(row) for row in range(100, 100 + _IMAGES)]
    _receive(root, contents)
    data = root / running.FOLDER
    sessions = connection.connect(connection.sqlite_url(data / 'gateway.sqlite'))
    files = ImageFiles(data / running.IMAGES)
    with connection.reading(sessions) as session:
        images = list(session.scalars(select(tables.Image)))
    descriptions.store(sessions, [descriptions.describe(files, image) for image in images])
    sessions.kw['bind'].dispose()
    assert _monitor(root) == 0
    with_files = _site(root)
    for path in (data / running.IMAGES).glob('??/*'):
        path.unlink()
    # A window is compared again with the test images alone.
    (data / 'monitor' / f'good-{_VERSION}.npz').unlink()
    assert _monitor(root) == 0
    assert _site(root)['window']['described'] == _IMAGES
    assert _site(root)['compared'] == with_files['compared']


def test_each_site_is_compared_apart(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = [gateways.jpeg(row) for row in range(100, 100 + _IMAGES)]
    _receive(root, same, site='North', reads=True)
    _receive(root, [_inverted(content) for content in same], 'inverted', site='South/2')
    _receive(root, same[:3])
    assert _monitor(root) == 1
    printed = capsys.readouterr().out
    assert 'site North, test images: p = ' in printed
    assert 'site South/2, test images: p = 0.0005, alarm: ' in printed
    assert 'site without a name: 3 studies, too few' in printed
    result = _result(root)
    assert {site['site']: site['alarm'] for site in result['sites']} == {
        'North': False,
        'South/2': True,
    }
    assert result['too_few'] == {'': 3}
    metrics = _metrics(root)
    assert metrics['cxr_monitor_alarm', 'North', None] == 0
    assert metrics['cxr_monitor_alarm', 'South/2', None] == 1
    page = (root / running.FOLDER / 'monitor' / 'index.html').read_text()
    assert 'Site South/2: alarm' in page and 'site without a name with 3' in page

    # The good window is that of the site alone: the other has none yet.
    assert _monitor(root, '--site', 'South/2') == 1
    assert _monitor(root, '--site', 'North') == 0
    assert [site['site'] for site in _result(root)['sites']] == ['North']
    assert _result(root)['labels']['periods'][0]['studies'] == _IMAGES
    assert _monitor(root, '--site', 'South/2', '--accept') == 0
    assert _monitor(root, '--site', 'South/2') == 2
    assert 'no site has 20 studies since its window was accepted' in capsys.readouterr().err
    assert _monitor(root) == 0
    assert 'site South/2, too few studies since the accepted window' in capsys.readouterr().out
    more = [gateways.jpeg(row) for row in range(200, 200 + _IMAGES)]
    _receive(root, [_inverted(content) for content in more], 'inverted', site='South/2')
    _receive(root, more, site='North')
    assert _monitor(root) == 0
    compared = {
        site['site']: [item['name'] for item in site['compared']] for site in _result(root)['sites']
    }
    assert compared == {
        'North': ['test images', 'last good window'],
        'South/2': ['accepted window'],
    }


def test_a_webhook_gets_the_result(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alarm_webhook, '_PAUSES_S', (0.0,) * 3)
    _receive(root, [_inverted(gateways.jpeg(row)) for row in range(100, 100 + _IMAGES)], 'inverted')
    key = root / 'key.txt'
    key.write_text(f'whsec_{base64.b64encode(report_receivers.Webhook.key).decode()}\n')
    receiver = report_receivers.Webhook()
    with report_receivers.running(receiver):
        options = [
            '--webhook',
            f'http://127.0.0.1:{receiver.port}/hook/',
            '--webhook-key',
            str(key),
        ]
        receiver.first = [(503, {}, b'')] * 3
        assert _monitor(root, *options) == 1
        (message,) = receiver.messages.values()
        assert message['alarm'] and message['version'] == _VERSION
        (site,) = message['sites']
        assert (site['site'], site['alarm'], site['studies']) == ('', True, _IMAGES)
        assert 'not_assessed' in site['differences']
        receiver.first = [(503, {}, b'')] * 4
        assert _monitor(root, *options) == 3
        assert 'status 503' in capsys.readouterr().err
    assert (len(receiver.messages), receiver.problems) == (1, [])
