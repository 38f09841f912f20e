"""Builds the Evaluator's TFMA configuration: metrics, slices and the thresholds of the gate."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from google.protobuf import json_format

# From their module: later versions of TFMA do not export all protos.
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation_parameters import FINDINGS_SLICE, EvaluationParameters, Threshold
from schemas.labels import FINDINGS
from schemas.signatures import EXAMPLES, FLAG, PROBABILITY
from trainer.tasks import Task

_PATIENT_METRICS = 'components.evaluator.patient_metrics'


def eval_config(parameters: EvaluationParameters, task: Task) -> config_pb2.EvalConfig:
    """The configuration for the model of a task; the label is the one that ingestion derives."""
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(signature_name=EXAMPLES.name, **_label_keys(task))],
        slicing_specs=_slices(parameters, task),
        metrics_specs=[
            _patient_metrics(parameters, task),
            config_pb2.MetricsSpec(
                output_names=[PROBABILITY],
                metrics=[config_pb2.MetricConfig(class_name='ExampleCount')],
            ),
        ],
    )


def _slices(parameters: EvaluationParameters, task: Task) -> list[config_pb2.SlicingSpec]:
    specs = [config_pb2.SlicingSpec()]
    for name in parameters.slices:
        if name == FINDINGS_SLICE:
            # Only value 1: images without a finding say nothing about the finding.
            specs += [
                config_pb2.SlicingSpec(feature_values={finding: '1'})
                for finding in FINDINGS
                if finding != task.label
            ]
        else:
            specs.append(config_pb2.SlicingSpec(feature_keys=[name]))
    for threshold in parameters.thresholds:
        spec = _slicing_spec(threshold)
        if spec not in specs:
            specs.append(spec)
    return specs


def _slicing_spec(threshold: Threshold) -> config_pb2.SlicingSpec:
    return config_pb2.SlicingSpec(feature_values=threshold.slice)


def _label_keys(task: Task) -> dict:
    if not task.findings:
        return {'label_key': task.label}
    return {
        'label_keys': {
            PROBABILITY: task.label,
            FLAG: task.label,
            **{name: name for name in task.findings},
        }
    }


def _patient_metrics(parameters: EvaluationParameters, task: Task) -> config_pb2.MetricsSpec:
    """The metrics of the registry and the thresholds, each for its own slice.

    A plain threshold would apply to every slice, even if its metric is not defined there.
    """
    settings = {
        'label': task.label,
        'findings': list(task.findings),
        'replicates': parameters.replicates,
        'level': parameters.interval,
        'min_positives': parameters.min_group_positives,
    }
    # By name: an import here would import TFMA's metrics too.
    metric = config_pb2.MetricConfig(
        class_name='PatientMetrics', module=_PATIENT_METRICS, config=json.dumps(settings)
    )
    spec = config_pb2.MetricsSpec(metrics=[metric])
    for threshold in parameters.thresholds:
        spec.per_slice_thresholds[threshold.metric].thresholds.append(_bound(threshold))
    return spec


def _bound(threshold: Threshold) -> config_pb2.PerSliceMetricThreshold:
    bound = config_pb2.MetricThreshold()
    if threshold.min is not None:
        bound.value_threshold.lower_bound.value = threshold.min
    if threshold.max is not None:
        bound.value_threshold.upper_bound.value = threshold.max
    if threshold.max_worse is not None:
        higher = threshold.registered.better == 'higher'
        direction = (
            config_pb2.MetricDirection.HIGHER_IS_BETTER
            if higher
            else config_pb2.MetricDirection.LOWER_IS_BETTER
        )
        bound.change_threshold.direction = direction
        bound.change_threshold.absolute.value = (
            -threshold.max_worse if higher else threshold.max_worse
        )
    if not bound.HasField('value_threshold'):
        # TFX drops change thresholds while no model is served. This bound stays: every number
        # passes it, but an undefined metric, NaN, does not.
        bound.value_threshold.lower_bound.value = -math.inf
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[_slicing_spec(threshold)], threshold=bound
    )


def thresholds(eval_config_json: str) -> tuple[Threshold, ...]:
    """Reads the thresholds back from TFMA's configuration, as each run records it."""
    return tuple(_thresholds(_parse(eval_config_json)))


def interval_level(eval_config_json: str) -> float:
    """Reads the level of the intervals from TFMA's configuration, e.g. 0.95."""
    settings = (
        json.loads(metric.config or '{}')
        for spec in _parse(eval_config_json).metrics_specs
        for metric in spec.metrics
    )
    default = EvaluationParameters.model_fields['interval'].default
    return next((float(values['level']) for values in settings if 'level' in values), default)


def _parse(eval_config_json: str) -> config_pb2.EvalConfig:
    return json_format.Parse(eval_config_json, config_pb2.EvalConfig(), ignore_unknown_fields=True)


def _thresholds(config: config_pb2.EvalConfig) -> Iterator[Threshold]:
    for spec in config.metrics_specs:
        for metric, per_slice in spec.per_slice_thresholds.items():
            for bound in per_slice.thresholds:
                for slicing in bound.slicing_specs:
                    yield _threshold(metric, dict(slicing.feature_values), bound.threshold)


def _threshold(metric: str, slice_values: dict, bound: config_pb2.MetricThreshold) -> Threshold:
    value, change = bound.value_threshold, bound.change_threshold
    # Minus infinity only requires that the metric is defined, see `_bound`.
    lower = value.lower_bound.value if value.HasField('lower_bound') else -math.inf
    # Not validated, because another release with other metrics may have written the record.
    return Threshold.model_construct(
        metric=metric,
        slice=slice_values,
        min=lower if math.isfinite(lower) else None,
        max=value.upper_bound.value if value.HasField('upper_bound') else None,
        max_worse=abs(change.absolute.value) if bound.HasField('change_threshold') else None,
    )
