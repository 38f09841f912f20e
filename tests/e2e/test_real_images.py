"""The whole pipeline on real X-rays with real ImageNet weights, shortened for CI."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from components.pusher import target
from pipeline.run_root import RunRoot
from pipeline.steps import REQUIRED
from records import examples, tfrecord
from schemas import signatures
from schemas.labels import NO_FINDING
from tests.support import chromium as browsing
from tests.support import pipeline_runs as runs
from tests.support.pipeline_runs import COMPLETE, NOISE
from tests.support.program import Finished, Program

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

_CONFIG = Path(__file__).resolve().parents[2] / 'pipeline' / 'configs' / 'ci_nih.yaml'
_IMAGES, _PATIENTS, _NORMAL = 1948, 1468, 522  # counted in the source data


@dataclasses.dataclass(frozen=True)
class RealRun:
    """A run on the real images."""

    root: Path
    data: Path
    finished: Finished

    @property
    def version(self) -> Path:
        """The folder of the pushed version."""
        return runs.newest_version(self.root / 'serving')


@pytest.fixture(scope='module')
def run(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """A run with CI's configuration on the 1,948 images and an empty run root."""
    folder = tmp_path_factory.mktemp('real')
    program = Program(_CONFIG.parents[2], _CONFIG, real_data / 'nih', folder)
    (weights,) = (real_data / 'weights').glob('mobilenet_v2_*_no_top.h5')
    return RealRun(
        folder / 'root',
        program.data,
        program.run(folder / 'root', '--weights', weights, fresh=True),
    )


def test_the_run_pushes_a_model(run: RealRun):
    assert run.finished.exit_code == 0, run.finished.screen
    assert runs.states(run.root) == [dict.fromkeys(REQUIRED, COMPLETE)]
    assert 'Pushed.' in run.finished.screen
    assert NOISE.findall(run.finished.screen) == []
    manifest = runs.manifest(run.version)
    assert target.verify(str(run.version)) == []
    assert manifest['config']['pipeline'] == 'ci-nih'
    assert manifest['metrics']['auc'] >= 0.6


def test_every_image_is_counted(run: RealRun):
    assert f'{_IMAGES:,} records in, 0 quarantined' in run.finished.screen
    assert f'{_PATIENTS:,} patients' in run.finished.screen
    report = json.loads(
        (runs.last_output(run.root, 'XrayExampleGen', 'report') / 'ingest.json').read_text()
    )
    splits = report['splits']
    assert (report['records_in'], report['records_out'], report['quarantined']) == (
        _IMAGES,
        _IMAGES,
        0,
    )
    assert sum(split['records'] for split in splits.values()) == _IMAGES
    assert sum(split['positives'] for split in splits.values()) == _IMAGES - _NORMAL
    assert sum(split['patients'] for split in splits.values()) == _PATIENTS
    assert [(file['promised'], file['held']) for file in report['files']] == [(122, 122)] * 12 + [
        (121, 121)
    ] * 4


def test_the_served_model_answers_as_the_trainer(run: RealRun):
    """Compares answers for unchanged records of the val split.

    The model runs in a Session, since TF Serving loads it that way.
    """
    import tensorflow as tf

    predictions = json.loads(
        (runs.last_output(run.root, 'Trainer', 'model_run') / 'predictions.json').read_text()
    )
    expected = {row['image_id']: row for row in predictions['splits']['val']}
    payloads = [
        record.payload for record in tfrecord.read(str(run.data / 'data' / '000-122.tfrec'))
    ]
    images = [
        (record, payload)
        for record, payload in ((examples.parse(p), p) for p in payloads)
        if record.image_id in expected
    ][:8]
    assert len(images) >= 4
    model_facts = json.loads((run.version / 'assets.extra' / 'triage.json').read_text())

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ['serve'], str(run.version))
        for signature, inputs in (
            (signatures.EXAMPLES, [payload for _, payload in images]),
            (signatures.IMAGES, [record.image for record, _ in images]),
        ):
            graph = meta.signature_def[signature.name]
            outputs = {name: tensor.name for name, tensor in graph.outputs.items()}
            answers = session.run(outputs, {graph.inputs[signature.input].name: inputs})
            rows = [expected[record.image_id] for record, _ in images]
            np.testing.assert_allclose(
                answers[signatures.PROBABILITY], [row['probability'] for row in rows], atol=1e-5
            )
            np.testing.assert_array_equal(answers[signatures.FLAG], [row['flag'] for row in rows])
            assert {version.decode() for version in answers[signatures.MODEL_VERSION]} == {
                model_facts['model_version']
            }
    # The labels of the predictions are those of the source.
    for record, _ in images:
        assert expected[record.image_id]['label'] == 1 - record.labels[NO_FINDING]


def test_the_pages_open_in_a_browser(browser, run: RealRun):
    browsing.check_pushed(
        browser,
        RunRoot(run.root).pages,
        {'Sex: female', 'View: PA', 'View: AP', 'Images with Effusion'},
        synthetic=False,
    )
