"""Recalibration: constants of a graph, the fit on other patients, and the gate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from components.evaluator import bootstrap
from components.pusher import target as push_target
from components.serving_check.session_model import SessionModel
from monitoring.recalibration import RecalibrationError, answers, fitting, gate, graph_constants
from monitoring.recalibration.graph_constants import Constants
from pipeline.run_root import RunRoot
from schemas import image_status, signatures
from schemas.signatures import FLAG, PROBABILITY, STATUS
from tests.support import push_targets, shifted_root, tiny_model
from trainer.artifacts import MODEL_INFO_FILE
from trainer.calibration import Calibration

TARGET = 0.95


def _images(slope: float, shift: float, count: int = 600) -> tuple[np.ndarray, ...]:
    """Logits and labels [n, 1] of two images for each patient, and the patients."""
    rng = np.random.default_rng(0)
    logits = np.repeat(rng.normal(0, 2, count // 2), 2) + rng.normal(0, 0.5, count)
    labels = (rng.random(count) < special.expit(slope * logits + shift)).astype(int)
    patient = np.array([f'{number // 2:08d}' for number in range(count)])
    return logits[:, None], labels[:, None], patient


def _judge(
    slope: float, shift: float, threshold: float = 0.2, count: int = 600
) -> dict[str, gate.Condition]:
    logits, labels, patient = _images(slope, shift, count)
    served = fitting.cases(logits, labels, Calibration(0.0, 1.0), threshold)
    held_out = fitting.held_out(logits, labels, patient, TARGET)
    conditions = gate.judge(served, held_out, patient, TARGET, 200, 0.95)
    return {condition.name: condition for condition in conditions}


def test_a_shift_is_recalibrated() -> None:
    conditions = _judge(0.5, 1.5)
    assert [c.name for c in conditions.values() if not c.passed] == []
    change = conditions[gate.LOG_LOSS].change
    assert change.upper is not None and change.upper < 0


def test_without_a_shift_there_is_nothing_to_gain() -> None:
    logits, labels, _ = _images(1.0, 0.0)
    threshold = fitting.fit(logits, labels, TARGET, []).point.threshold
    conditions = _judge(1.0, 0.0, threshold)
    assert [c.name for c in conditions.values() if not c.passed] == [gate.OFF_TARGET]
    assert 'this or log loss clearly lower' in conditions[gate.OFF_TARGET].summary


def test_a_network_that_does_not_separate_the_classes_is_refused() -> None:
    conditions = _judge(0.0, 1.5)
    assert not conditions[gate.AUC].passed
    assert conditions[gate.LOG_LOSS].passed


@pytest.mark.parametrize(
    ('threshold', 'is_judged'),
    [
        pytest.param(0.01, True, id='served version reaches the target'),
        pytest.param(0.8, False, id='served version misses the target'),
    ],
)
def test_specificity_counts_only_if_sensitivity_is_reached(threshold: float, is_judged) -> None:
    condition = _judge(1.0, 0.0, threshold)[gate.SPECIFICITY]
    assert condition.passed
    assert condition.required.startswith('at least') == is_judged


def test_a_worse_recalibration_names_the_numbers() -> None:
    logits, labels, patient = _images(1.0, 0.0)
    good = fitting.cases(logits, labels, Calibration(0.0, 1.0), 0.2)
    bad = fitting.cases(logits, labels, Calibration(2.0, 0.5), 0.9)
    conditions = gate.judge(good, bad, patient, TARGET, 200, 0.95)
    failed = {c.name: c.summary for c in conditions if not c.passed}
    assert set(failed) == {gate.LOG_LOSS, gate.BRIER, gate.ERROR, gate.SENSITIVITY, gate.OFF_TARGET}
    assert 'required: upper end of the change up to +0.02' in failed[gate.LOG_LOSS]


@pytest.mark.parametrize(
    ('label', 'message'),
    [
        pytest.param([1] * 100 + [0] * 49, '49 negative images of 49 patients', id='few'),
        pytest.param([1] * 100, '0 negative images of 0 patients', id='one class'),
    ],
)
def test_too_few_images_are_refused(label: list[int], message: str) -> None:
    patient = np.array([str(number) for number in range(len(label))])
    with pytest.raises(RecalibrationError, match=message):
        gate.check_counts(np.array(label), patient)


def test_images_of_one_patient_are_too_few() -> None:
    with pytest.raises(RecalibrationError, match='100 positive images of 1 patients'):
        gate.check_counts(np.array([1] * 100 + [0] * 100), np.zeros(200))


def test_no_image_takes_part_in_the_fit_that_answers_it() -> None:
    logits, labels, patient = _images(1.0, 0.0)
    first = patient == patient[0]
    answers = fitting.held_out(logits, labels, patient, TARGET)
    changed = np.where(first[:, None], 1 - labels, labels)
    again = fitting.held_out(logits, changed, patient, TARGET)
    np.testing.assert_array_equal(answers.probability[first], again.probability[first])
    assert not np.array_equal(answers.probability, again.probability)


def test_a_rare_finding_keeps_its_calibration() -> None:
    logits, labels, _ = _images(1.0, 0.0)
    rare = (np.arange(len(labels)) < 5).astype(int)[:, None]
    before = [Calibration(0.0, 1.0), Calibration(0.3, 1.7), Calibration(0.1, 1.1)]
    fitted = fitting.fit(np.repeat(logits, 3, 1), np.hstack([labels, rare, labels]), TARGET, before)
    assert fitted.calibrations[1] == before[1]
    assert fitted.calibrations[2] == fitted.calibrations[0] != before[0]


def test_metrics_have_the_names_of_the_evaluator() -> None:
    logits, labels, patient = _images(1.0, 0.0)
    cases = fitting.cases(logits, labels, Calibration(0.0, 1.0), 0.2)
    figures = gate.metrics(cases, patient, 50, 0.95)
    assert figures['auc'].value == pytest.approx(
        float(bootstrap.auc(cases.probability, cases.label)(np.ones((1, 600)))[0])
    )
    assert {'sensitivity', 'specificity', 'precision', 'calibration_ratio'} <= set(figures)


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('exported')
    shifted_root.export(folder)
    return folder / 'model'


def _weights(model: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (model / 'variables').iterdir()}


def test_constants_are_replaced_and_weights_are_not(exported: Path, tmp_path: Path) -> None:
    model = tmp_path / 'model'
    shutil.copytree(exported, model)
    before = graph_constants.constants(graph_constants.read_info(str(model)))
    images = shifted_root.images(12)
    old = SessionModel(str(model)).score(signatures.IMAGES, images)
    (one,) = before.calibrations
    new = Constants((Calibration(one.offset + 0.5, one.temperature * 2),), 0.6, 'tiny-2')
    graph_constants.replace(str(model), before, new)
    answers = SessionModel(str(model)).score(signatures.IMAGES, images)
    logits = special.logit(old.probability.astype(np.float64)) * one.temperature + one.offset
    np.testing.assert_allclose(answers.probability, new.calibrations[0].apply(logits), atol=1e-5)
    np.testing.assert_array_equal(answers.flag, answers.probability >= np.float32(0.6))
    assert set(answers.model_version) == {b'tiny-2'}
    assert _weights(model) == _weights(exported)


def test_other_constants_than_those_on_record_are_refused(exported: Path) -> None:
    before = graph_constants.constants(graph_constants.read_info(str(exported)))
    wrong = Constants(before.calibrations, 0.123, before.version)
    with pytest.raises(RecalibrationError, match=r'0 constants .* have the threshold'):
        graph_constants.replace(str(exported), wrong, before)


def test_a_model_of_another_kind_has_nothing_to_change(tmp_path: Path) -> None:
    tiny_model.export(tmp_path / 'model')
    with pytest.raises(RecalibrationError, match=r'triage\.json: it has no calibration'):
        graph_constants.read_info(str(tmp_path / 'model'))
    (tmp_path / 'model' / MODEL_INFO_FILE).parent.mkdir()
    (tmp_path / 'model' / MODEL_INFO_FILE).write_text(json.dumps({'calibration': {}}))
    with pytest.raises(RecalibrationError, match='no calibration'):
        graph_constants.read_info(str(tmp_path / 'model'))


def _recalibrated(root: Path, of: str, before: Calibration, after: Calibration) -> str:
    about = {
        'of_version': of,
        'data': '/data',
        'spans': (0,),
        'fingerprint': 'f',
        'images': 2,
        'patients': 2,
        'positives': 1,
        'prevalence': 0.5,
        'left_out': {},
        'before': {'abnormal': vars(before)},
        'after': {'abnormal': vars(after)},
        'threshold_before': 0.5,
        'threshold_after': 0.7,
        'served_metrics': {},
        'gate': (),
        'by': 'ann',
    }
    make = push_targets.maker(recalibration=about, config={'task': 'nih_triage'})
    model = push_targets.model(root / f'model-{of}', of)
    return push_targets.push.publish(model, str(RunRoot(root).serving), make).version


def test_answers_of_the_trained_version_become_those_of_its_recalibration(tmp_path: Path) -> None:
    first = push_targets.publish(
        push_targets.model(tmp_path / 'model'), RunRoot(tmp_path).serving
    ).version
    served, second, third = Calibration(0.1, 1.2), Calibration(0.5, 2.0), Calibration(-1.0, 1.5)
    between = _recalibrated(tmp_path, first, served, second)
    last = _recalibrated(tmp_path, between, second, third)
    logits = np.array([-2.0, 0.3, 4.0])
    trained = pd.DataFrame(
        {
            PROBABILITY: [*served.apply(logits), 1.0],
            FLAG: [0, 0, 1, 1],
            STATUS: [*[image_status.OK] * 3, image_status.TRUNCATED],
        }
    )
    origin = answers.origin(tmp_path, int(last))
    assert origin.version == first
    table = origin.of(trained)
    np.testing.assert_allclose(table[PROBABILITY], [*third.apply(logits), 1.0], atol=1e-6)
    assert list(table[FLAG]) == [0, 1, 1, 1]
    assert answers.origin(tmp_path, int(first)).of(trained) is trained


def test_a_run_that_trained_the_network_is_not_repeated_after_a_recalibration(
    tmp_path: Path,
) -> None:
    one = Calibration(0.0, 1.0)
    _recalibrated(tmp_path, '1', one, one)
    newest = push_target.newest(str(RunRoot(tmp_path).serving))
    plan = push_target.plan_push(newest, 'key', lambda uri: True, 'new')
    assert plan == push_target.PushPlan('', 'nonce')


def test_a_weight_of_two_counts_like_a_second_image() -> None:
    logits, labels, patient = _images(0.5, 1.0)
    twice = np.arange(len(labels)) % 3 == 0
    rows = np.repeat(np.arange(len(labels)), np.where(twice, 2, 1))
    weights = np.where(twice, 2.0, 1.0)
    repeated = fitting.held_out(logits[rows], labels[rows], patient[rows], TARGET)
    weighted = fitting.held_out(logits, labels, patient, TARGET, weights)
    np.testing.assert_allclose(weighted.probability[rows], repeated.probability, atol=1e-4)
    figures = gate.metrics(weighted, patient, 20, 0.95, weights)
    expected = gate.metrics(repeated, patient[rows], 20, 0.95)
    assert figures['sensitivity'].value == pytest.approx(expected['sensitivity'].value)
    assert figures['log_loss'].value == pytest.approx(expected['log_loss'].value, abs=1e-4)
