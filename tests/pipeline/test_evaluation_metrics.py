"""TFMA on a model with fixed outputs: metrics match their definitions, and verdicts the gate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from tfx.types import standard_artifacts

from components.evaluator import bootstrap, gallery, predictions, registry, results
from components.evaluator.bootstrap import Cases
from components.pusher import target
from components.pusher.executor import candidate_results
from components.serving_check.session_model import SessionModel
from pipeline import metrics
from pipeline.evaluation_parameters import EvaluationParameters, Threshold
from records.examples import put_bytes, put_float, put_int, serialize
from schemas.features import (
    AGE,
    AGE_BAND,
    FOLLOW_UP,
    IMAGE,
    IMAGE_ID,
    PATIENT_ID,
    SEX,
    VIEW,
    WEIGHT,
    age_band,
)
from schemas.labels import LABELS
from schemas.signatures import EXAMPLES, FLAG, HEAT_MAP, MODEL_VERSION, PROBABILITY
from tests.support import push_targets
from tests.support.evaluation import evaluate
from trainer.tasks import TASKS

pytestmark = pytest.mark.slow

TASK = TASKS['nih_triage']
COUNT = 400
RNG = np.random.default_rng(0)
TRUTH = (RNG.random(COUNT) < 0.4).astype(int)
# All different: the AUC has no ties.
SCORES = {
    name: np.clip(RNG.normal(0.35 + gap * TRUTH, 0.15, COUNT), 0.01, 0.99).astype(np.float32)
    for name, gap in (('candidate', 0.3), ('baseline', 0.2))
}
POINTS = {'candidate': 0.45, 'baseline': 0.5}
WOMEN = RNG.random(COUNT) < 0.5
AGES = RNG.integers(1, 90, COUNT)
# A label that this task does not predict.
FINDING, WITH_FINDING = 'Mass', range(0, COUNT, 5)
# Two images per patient.
PATIENTS = np.arange(COUNT) // 2


class TableModel(tf.Module):
    """Looks up the score of an image in a table; the image is the number of its row."""

    def __init__(self, scores: np.ndarray, point: float):
        super().__init__()
        self._scores, self._point = tf.constant(scores), point

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES.input)])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of the signature for serialized examples."""
        rows = tf.strings.to_number(
            tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([], tf.string)})[IMAGE],
            tf.int32,
        )
        probability = tf.gather(self._scores, rows)
        flag = tf.cast(probability >= self._point, tf.float32)
        return {
            PROBABILITY: probability,
            FLAG: flag,
            MODEL_VERSION: tf.fill(tf.shape(rows), 'table'),
        }


def _metrics(scores: np.ndarray, point: float, mask: np.ndarray) -> dict[str, float]:
    """Computes the metrics by definition; the AUC is the share of correctly ordered pairs."""
    scores, truth = scores[mask].astype(float), TRUTH[mask]
    positive, negative = scores[truth == 1], scores[truth == 0]
    order = truth[np.argsort(-scores)]
    precision = np.cumsum(order) / np.arange(1, len(order) + 1)
    return {
        'auc': float((positive[:, None] > negative[None, :]).mean()),
        'pr_auc': float(precision[order == 1].mean()),
        'sensitivity': float((positive >= point).mean()),
        'specificity': float((negative < point).mean()),
        'brier_score': float(((scores - truth) ** 2).mean()),
        'calibration_ratio': float(scores.mean() / truth.mean()),
        'sensitivity_gap_sex': _gap(positive >= point, WOMEN[mask][truth == 1]),
    }


def _gap(flagged: np.ndarray, women: np.ndarray) -> float:
    return (
        float(abs(flagged[women].mean() - flagged[~women].mean()))
        if 0 < women.sum() < len(women)
        else math.nan
    )


ALL_IMAGES = np.ones(COUNT, bool)
EXPECTED = {name: _metrics(SCORES[name], POINTS[name], ALL_IMAGES) for name in SCORES}
EXPECTED_OF_WOMEN = _metrics(SCORES['candidate'], POINTS['candidate'], WOMEN)
THRESHOLDS = {
    'auc above': (Threshold(metric='auc', min=EXPECTED['candidate']['auc'] - 0.01), True, 0.01),
    'auc below': (
        Threshold(metric='auc', slice={SEX: 'F'}, min=EXPECTED_OF_WOMEN['auc'] + 0.02),
        False,
        -0.02,
    ),
    'between': (
        Threshold(
            metric='calibration_ratio',
            min=0.5,
            max=EXPECTED['candidate']['calibration_ratio'] - 0.05,
        ),
        False,
        -0.05,
    ),
    'upper bound': (
        Threshold(metric='brier_score', max=EXPECTED['candidate']['brier_score'] + 0.03),
        True,
        0.03,
    ),
    'empty slice': (
        Threshold(metric='auc', slice={'view_position': 'PA'}, min=0.5),
        False,
        None,
    ),
}
CHANGES = {
    metric: (
        Threshold(metric=metric, max_worse=worse),
        EXPECTED['candidate'][metric] - EXPECTED['baseline'][metric] + worse,
    )
    for metric, worse in (('auc', 0.01), ('sensitivity', 0.01), ('specificity', 0.001))
}


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, the candidate and the baseline."""
    folder = tmp_path_factory.mktemp('evaluation')
    (folder / 'examples' / 'Split-test').mkdir(parents=True)
    with tf.io.TFRecordWriter(
        str(folder / 'examples' / 'Split-test' / 'data_tfrecord-00000-of-00001')
    ) as writer:
        for row in range(COUNT):
            example = tf.train.Example()
            put_bytes(example, IMAGE, str(row).encode())
            age = int(AGES[row])
            texts = {
                SEX: 'F' if WOMEN[row] else 'M',
                VIEW: 'AP',
                IMAGE_ID: _image_id(row),
                PATIENT_ID: str(PATIENTS[row]),
                AGE_BAND: age_band(age),
            }
            for name, text in texts.items():
                put_bytes(example, name, text.encode())
            for name, number in {AGE: age, FOLLOW_UP: row % 7}.items():
                put_int(example, name, number)
            put_float(example, WEIGHT, 1.0)
            for name in LABELS:
                put_int(example, name, int(name == FINDING and row in WITH_FINDING))
            put_int(example, TASK.label, int(TRUTH[row]))
            writer.write(serialize(example))
    for name, scores in SCORES.items():
        module = TableModel(scores, POINTS[name])
        tf.saved_model.save(
            module, str(folder / name / 'Format-Serving'), signatures={EXAMPLES.name: module.serve}
        )
    # A served model has the manifest of its push.
    served = str(folder / 'baseline' / 'Format-Serving')
    files = target.digests(served)
    target.write_manifest(served, push_targets.maker()('1', target.model_digest(files), files))
    return folder


def _evaluate(
    data: Path, out: Path, parameters: EvaluationParameters, baseline: bool
) -> tuple[EvaluationParameters, str, bool]:
    """Runs the Evaluator.

    Returns:
      The parameters, the path of the evaluation, and whether the candidate was blessed.
    """
    path, blessed = evaluate(
        parameters,
        TASK,
        data / 'examples',
        data / 'candidate',
        out,
        data / 'baseline' if baseline else None,
    )
    return parameters, path, blessed


def _image_id(row: int) -> str:
    return f'{row:05}.png'


def _parameters(thresholds: Iterable[Threshold]) -> EvaluationParameters:
    return EvaluationParameters(slices=('sex',), thresholds=tuple(thresholds))


@pytest.fixture(scope='module')
def without_baseline(data: Path) -> tuple[EvaluationParameters, str, bool]:
    """An evaluation without a served model."""
    return _evaluate(
        data,
        data / 'without_baseline',
        _parameters(threshold for threshold, _, _ in THRESHOLDS.values()),
        baseline=False,
    )


@pytest.fixture(scope='module')
def with_baseline(data: Path) -> tuple[EvaluationParameters, str, bool]:
    """An evaluation with a served model."""
    return _evaluate(
        data,
        data / 'with_baseline',
        _parameters(
            [*(threshold for threshold, _ in CHANGES.values()), Threshold(metric='auc', min=0.1)]
        ),
        baseline=True,
    )


@pytest.mark.parametrize('metric', list(EXPECTED['candidate']))
def test_metrics_match_their_definitions(metric: str, without_baseline) -> None:
    tolerance = {'pr_auc': 5e-3}.get(metric, 1e-5)
    assert results.read(without_baseline[1]).overall.value(metric) == pytest.approx(
        EXPECTED['candidate'][metric], abs=tolerance
    )


@pytest.mark.parametrize('name', THRESHOLDS)
def test_a_verdict_agrees_with_the_gate(name: str, without_baseline) -> None:
    threshold, passed, margin = THRESHOLDS[name]
    verdicts = _verdicts(without_baseline, threshold)
    assert all(verdict.passed for verdict in verdicts) is passed
    margins = [verdict.margin for verdict in verdicts if verdict.margin is not None]
    assert (min(margins) if margins else None) == (
        None if margin is None else pytest.approx(margin, abs=2e-3)
    )
    assert len(verdicts) == (2 if name == 'between' else 1)
    assert {verdict.value is None for verdict in verdicts} == {margin is None}


@pytest.mark.parametrize('name', CHANGES)
def test_a_candidate_is_compared_with_the_served_model(name: str, with_baseline) -> None:
    threshold, margin = CHANGES[name]
    (verdict,) = _verdicts(with_baseline, threshold)
    assert verdict.passed is (margin >= 0)
    assert verdict.margin == pytest.approx(margin, abs=2e-3)
    assert (
        f'(served {EXPECTED["baseline"][threshold.metric]:.4f} - {threshold.max_worse:g})'
        in verdict.bound
    )
    # The value of the candidate, neither of the baseline nor the difference.
    assert verdict.value == pytest.approx(EXPECTED['candidate'][threshold.metric], abs=2e-3)


@pytest.mark.parametrize('models', [['candidate'], ['candidate', 'baseline']], ids=len)
def test_the_predictions_of_each_image_are_kept(
    models: list[str], without_baseline, with_baseline
) -> None:
    _, folder, _ = without_baseline if len(models) == 1 else with_baseline
    kept = predictions.read(folder)
    assert list(kept) == list(predictions.columns((), has_served=len(models) == 2))
    assert kept[IMAGE_ID].tolist() == [_image_id(row) for row in range(COUNT)]
    assert kept[PATIENT_ID].tolist() == PATIENTS.astype(str).tolist()
    assert kept[predictions.LABEL].tolist() == TRUTH.tolist()
    assert (kept[SEX] == 'F').tolist() == WOMEN.tolist()
    assert kept[AGE].tolist() == AGES.tolist()
    assert set(kept[predictions.SPLIT]) == {'test'}
    assert np.flatnonzero(kept[FINDING]).tolist() == list(WITH_FINDING)
    # This model has no output `status`.
    assert kept['status'].isna().all()
    for model in models:
        prefix = '' if model == 'candidate' else predictions.SERVED
        # The very numbers that the metrics were computed from.
        assert np.array_equal(kept[prefix + PROBABILITY].to_numpy(), SCORES[model])
        assert kept[prefix + FLAG].tolist() == (SCORES[model] >= POINTS[model]).astype(int).tolist()


def test_the_gallery_shows_images_of_each_kind(without_baseline, with_baseline) -> None:
    kinds = set(gallery.KINDS)
    for (_, folder, _), has_served in ((without_baseline, False), (with_baseline, True)):
        shown = gallery.read(folder)
        assert shown is not None
        present = {kind for kind in kinds if shown[kind].notna().any()}
        assert present == (kinds if has_served else kinds - {gallery.CHANGED})
        # These images are numbers, and this model has no heat map.
        assert shown[gallery.THUMBNAIL].isna().all() and shown[HEAT_MAP].isna().all()


def test_an_evaluation_of_an_earlier_version_has_no_predictions(tmp_path: Path) -> None:
    with pytest.raises(predictions.PredictionsError, match='earlier version made it'):
        predictions.read(str(tmp_path))


def _verdicts(evaluated: tuple, threshold: Threshold) -> list[metrics.Verdict]:
    """Returns the verdicts of one threshold."""
    parameters, path, _ = evaluated
    verdicts = metrics.verdicts(parameters.thresholds, results.read(path))
    return [verdict for verdict in verdicts if verdict.threshold == threshold]


def _cases(rows: np.ndarray) -> Cases:
    scores = SCORES['candidate'].astype(float)
    return Cases(
        scores[rows], (scores >= np.float32(POINTS['candidate'])).astype(float)[rows], TRUTH[rows]
    )


@pytest.mark.parametrize('women', [None, True], ids=['all', 'women'])
@pytest.mark.parametrize('metric', ['auc', 'sensitivity', 'calibration_error'])
def test_intervals_resample_patients(metric: str, women: bool | None, without_baseline) -> None:
    rows = np.arange(COUNT) if women is None else np.flatnonzero(WOMEN)
    cases = _cases(rows)
    statistic = (
        bootstrap.auc(cases.probability, cases.label)
        if metric == 'auc'
        else getattr(bootstrap, metric)(cases)
    )
    expected = bootstrap.figures({metric: statistic}, PATIENTS[rows], 4000, 0.95, seed=1)[metric]
    figure = results.read(without_baseline[1]).slice(_slice(women)).figure(metric)
    width = expected.upper - expected.lower
    assert figure.lower == pytest.approx(expected.lower, abs=0.06 * width)
    assert figure.upper == pytest.approx(expected.upper, abs=0.06 * width)
    assert figure.value == pytest.approx(expected.value, abs=1e-6)


def _slice(women: bool | None) -> tuple:
    return () if women is None else ((SEX, 'F'),)


def test_a_threshold_on_the_lower_limit_of_an_interval(
    data: Path, without_baseline, tmp_path: Path
) -> None:
    """The AUC of the model is above the bound, but the lower limit of its interval is not."""
    figure = results.read(without_baseline[1]).overall.figure('auc')
    bound = (figure.lower + figure.value) / 2
    for metric, blessed in (('auc', True), ('auc_lower', False)):
        parameters, path, verdict = _evaluate(
            data,
            tmp_path / metric,
            _parameters([Threshold(metric=metric, min=bound)]),
            baseline=False,
        )
        assert verdict is blessed
        evaluation = results.read(path)
        assert metrics.verdicts(parameters.thresholds, evaluation)[0].passed is blessed


def test_the_auc_of_metadata(without_baseline) -> None:
    """In these data, the metadata are independent of the label."""
    overall = results.read(without_baseline[1]).overall
    assert 0.35 < overall.value('metadata_auc') < 0.6
    assert overall.value('auc_over_metadata') == pytest.approx(
        overall.value('auc') - overall.value('metadata_auc')
    )


def test_images_not_assessed_are_not_counted_without_statuses(without_baseline) -> None:
    overall = results.read(without_baseline[1]).overall
    assert overall.is_measured(registry.NOT_ASSESSED)
    assert overall.value(registry.NOT_ASSESSED) is None
    assert overall.value(registry.IMAGES) == COUNT


def test_the_groups_of_a_gap_are_listed(without_baseline, with_baseline) -> None:
    """The terminal and the manifest list them, even if the gap is undefined (all views are AP)."""
    flagged = SCORES['candidate'] >= np.float32(POINTS['candidate'])
    for path in (without_baseline[1], with_baseline[1]):
        evaluation = results.read(path)
        groups = {
            feature: groups
            for (model, feature), groups in evaluation.overall.groups.items()
            if model == results.CANDIDATE
        }
        assert {group.name: (group.positives, group.missed) for group in groups[SEX].groups} == {
            name: (int((TRUTH[mask] == 1).sum()), int(((TRUTH == 1) & ~flagged)[mask].sum()))
            for name, mask in (('F', WOMEN), ('M', ~WOMEN))
        }
        artifact = standard_artifacts.ModelEvaluation()
        artifact.uri = path
        assert candidate_results([artifact])['sensitivity_groups'] == {
            feature: listed.model_dump(mode='json') for feature, listed in groups.items()
        }
        console = Console(width=150)
        with console.capture() as capture:
            console.print(metrics.metrics_table(evaluation))
        lines = [' '.join(line.split()) for line in capture.get().splitlines()]
        index = lines.index(
            'Largest gap in sensitivity by view not defined fewer than two groups with 20 positive '
            'images'
        )
        assert lines[index + 1].startswith('lowest: AP 0.')
        assert 'positives missed' in lines[index + 1]
        assert lines[index + 2].startswith('in this gap 20 positives or more: AP (')


def test_each_model_is_measured_at_its_own_operating_point(with_baseline) -> None:
    overall = results.read(with_baseline[1]).overall
    for model in (results.CANDIDATE, results.BASELINE):
        assert overall.value('sensitivity', model) == pytest.approx(
            EXPECTED[model]['sensitivity'], abs=1e-5
        )
    difference = EXPECTED['candidate']['sensitivity'] - EXPECTED['baseline']['sensitivity']
    assert overall.value('sensitivity', results.DIFFERENCE) == pytest.approx(difference, abs=1e-5)


def test_a_candidate_is_blessed_if_all_verdicts_pass(without_baseline, with_baseline) -> None:
    assert not without_baseline[2]
    assert with_baseline[2] is all(margin >= 0 for _, margin in CHANGES.values())


@pytest.mark.parametrize(
    ('thresholds', 'blessed'),
    [
        ([Threshold(metric='auc', max_worse=0.01), Threshold(metric='sensitivity', min=0.1)], True),
        ([Threshold(metric='auc', min=0.5, max_worse=0.01)], True),
        ([Threshold(metric='auc', min=0.999, max_worse=0.01)], False),
        # The gap is not defined: all images are AP, so there is no second group.
        (
            [
                Threshold(metric='sensitivity_gap_view_position', max_worse=0.01),
                Threshold(metric='auc', min=0.1),
            ],
            False,
        ),
    ],
    ids=['no bound', 'above its bound', 'below its bound', 'not defined'],
)
def test_max_worse_has_no_effect_while_nothing_is_served(
    thresholds: list[Threshold], blessed: bool, data: Path, tmp_path: Path
) -> None:
    parameters, path, verdict = _evaluate(data, tmp_path, _parameters(thresholds), baseline=False)
    assert verdict is blessed
    verdicts = metrics.verdicts(parameters.thresholds, results.read(path))
    assert all(verdict.passed for verdict in verdicts) is blessed
    (change,) = (
        verdict for verdict in verdicts if verdict.bound == 'at most 0.01 worse than served'
    )
    assert (change.note == 'no served model to compare with') is (change.value is not None)


def test_the_session_loader_scores_every_image_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Evaluator runs both models as in serving."""
    scored: Counter[int] = Counter()
    run = SessionModel.run

    def counting_run(
        self: SessionModel, signature: str, inputs: Mapping[str, Sequence[bytes]]
    ) -> dict[str, np.ndarray]:
        scored[id(self)] += len(inputs[EXAMPLES.input])
        return run(self, signature, inputs)

    monkeypatch.setattr(SessionModel, 'run', counting_run)
    _evaluate(data, tmp_path, _parameters([Threshold(metric='auc', min=0.1)]), baseline=True)
    assert list(scored.values()) == [COUNT, COUNT]
