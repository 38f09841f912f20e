"""TFMA accepts the Evaluator's configuration and applies its thresholds as we do."""

from __future__ import annotations

import json
import math

import pytest
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics import metric_specs, metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util

from components.evaluator import registry, results
from pipeline import evaluation, metrics
from pipeline.evaluation_parameters import SLICES, EvaluationParameters, Threshold
from schemas.labels import FINDINGS
from trainer.tasks import TASKS

TASK = TASKS['nih_triage']


def _config(*thresholds: Threshold, slices: tuple[str, ...] = SLICES) -> config_pb2.EvalConfig:
    return evaluation.eval_config(EvaluationParameters(slices=slices, thresholds=thresholds), TASK)


def _bounds(config: config_pb2.EvalConfig, name: str) -> list[config_pb2.PerSliceMetricThreshold]:
    """Returns the thresholds of a metric."""
    (spec,) = [spec for spec in config.metrics_specs if name in spec.per_slice_thresholds]
    assert not spec.output_names
    return list(spec.per_slice_thresholds[name].thresholds)


@pytest.mark.parametrize('slices', [(), SLICES, ('sex',)], ids=str)
@pytest.mark.parametrize('metric', registry.GATE_METRICS)
def test_tfma_accepts_the_configuration(metric: str, slices: tuple[str, ...]) -> None:
    better = registry.find(metric).better
    bound = {'max': 1.5} if better == 'close to 1' else {'max_worse': 0.1}
    config = _config(
        Threshold(metric=metric, min=0.1, **bound),
        Threshold(metric='auc', slice={'sex': 'F'}, min=0.5),
        slices=slices,
    )
    updated = config_util.update_eval_config_with_defaults(config, has_baseline=True)
    config_util.verify_eval_config(updated, baseline_required=True)


def test_the_model_is_called_through_its_serving_signature() -> None:
    (spec,) = _config(Threshold(metric='auc', min=0.5)).model_specs
    assert (spec.signature_name, spec.label_key) == ('serving_default', 'abnormal')


def test_parameters_of_the_patient_metrics() -> None:
    parameters = EvaluationParameters(replicates=300, interval=0.9, min_group_positives=7)
    (metric,) = [
        metric
        for spec in evaluation.eval_config(parameters, TASK).metrics_specs
        for metric in spec.metrics
        if metric.module
    ]
    assert json.loads(metric.config) == {
        'label': 'abnormal',
        'findings': [],
        'replicates': 300,
        'level': 0.9,
        'min_positives': 7,
    }
    assert metric_specs.metric_instance(metric).kwargs['replicates'] == 300


def test_slices() -> None:
    specs = _config(
        Threshold(metric='auc', slice={'sex': 'F', 'view_position': 'AP'}, min=0.5)
    ).slicing_specs
    assert specs[0] == config_pb2.SlicingSpec()
    assert [list(spec.feature_keys) for spec in specs if spec.feature_keys] == [
        ['sex'],
        ['age_band'],
        ['view_position'],
    ]
    values = [dict(spec.feature_values) for spec in specs if spec.feature_values]
    assert values == [{finding: '1'} for finding in FINDINGS] + [
        {'sex': 'F', 'view_position': 'AP'}
    ]


def test_a_threshold_applies_only_to_its_slice() -> None:
    thresholds = (
        Threshold(metric='auc', min=0.7),
        Threshold(metric='auc', slice={'view_position': 'AP'}, min=0.6, max=0.9),
    )
    config = _config(*thresholds)
    overall, ap_view = _bounds(config, 'auc')
    assert [len(overall.slicing_specs), len(ap_view.slicing_specs)] == [1, 1]
    assert overall.slicing_specs[0] == config_pb2.SlicingSpec()
    assert dict(ap_view.slicing_specs[0].feature_values) == {'view_position': 'AP'}
    assert overall.threshold.value_threshold.lower_bound.value == 0.7
    assert not overall.threshold.value_threshold.HasField('upper_bound')
    assert (
        ap_view.threshold.value_threshold.lower_bound.value,
        ap_view.threshold.value_threshold.upper_bound.value,
    ) == (0.6, 0.9)
    assert [
        list(spec.per_slice_thresholds)
        for spec in config.metrics_specs
        if spec.per_slice_thresholds
    ] == [['auc']]
    assert not any(
        metric.per_slice_thresholds or metric.HasField('threshold')
        for spec in config.metrics_specs
        for metric in spec.metrics
    )


@pytest.mark.parametrize(
    ('metric', 'direction', 'absolute'),
    [
        ('auc', 'HIGHER_IS_BETTER', -0.02),
        ('sensitivity', 'HIGHER_IS_BETTER', -0.02),
        ('brier_score', 'LOWER_IS_BETTER', 0.02),
    ],
)
def test_max_worse_follows_the_direction_of_the_metric(
    metric: str, direction: str, absolute: float
) -> None:
    (bound,) = _bounds(
        _config(
            Threshold(metric=metric, max_worse=0.02), Threshold(metric='calibration_ratio', min=0.5)
        ),
        metric,
    )
    change = bound.threshold.change_threshold
    assert config_pb2.MetricDirection.Name(change.direction) == direction
    assert change.absolute.value == absolute


VALUES = {
    'defined': {'candidate': 0.8, 'baseline': 0.9},
    'too low': {'candidate': 0.5, 'baseline': 0.9},
    'undefined': {'candidate': math.nan, 'baseline': math.nan},
    'undefined for the served model': {'candidate': 0.8, 'baseline': math.nan},
    'undefined for the candidate': {'candidate': math.nan, 'baseline': 0.9},
}


@pytest.mark.parametrize('served', [True, False], ids=['served', 'nothing served'])
@pytest.mark.parametrize(
    'bounds',
    [{'max_worse': 0.15}, {'min': 0.7}, {'max': 0.85}, {'min': 0.7, 'max_worse': 0.15}],
    ids=str,
)
@pytest.mark.parametrize('name', VALUES)
def test_verdicts_agree_with_tfma(name: str, bounds: dict, served: bool) -> None:
    """With nothing served, TFX removes the change thresholds from the configuration."""
    threshold, second = Threshold(metric='pr_auc', **bounds), Threshold(metric='auc', min=0.1)
    config = config_util.update_eval_config_with_defaults(
        _config(threshold, second), has_baseline=served, rubber_stamp=True
    )
    values, candidate = VALUES[name], 'candidate' if served else ''
    measured: dict[metric_types.MetricKey, float] = {}
    for metric, model_values in (('pr_auc', values), ('auc', {'candidate': 0.5, 'baseline': 0.5})):
        key = metric_types.MetricKey(metric, model_name=candidate, example_weighted=None)
        measured[key] = model_values['candidate']
        if served:
            measured[key._replace(model_name='baseline')] = model_values['baseline']
            measured[key.make_diff_key()] = model_values['candidate'] - model_values['baseline']
    blessed = metrics_validator.validate_metrics(((), measured), config).validation_ok
    overall = results.Slice(())
    for key, value in measured.items():
        overall.values[results._model(key), key.name] = None if math.isnan(value) else value
    evaluated = results.Evaluation('', (overall,))
    verdicts = metrics.verdicts((threshold, second), evaluated)
    assert all(verdict.passed for verdict in verdicts) is blessed
    assert not (blessed and name.startswith('undefined') and math.isnan(values['candidate']))
