"""The TFMA configuration of the Evaluator: metrics, slices and the thresholds of the gate."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from google.protobuf import json_format

# By their module: later versions of TFMA no longer export some protos.
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation_parameters import FINDINGS_SLICE, EvaluationParameters, Threshold
from schemas.labels import FINDINGS
from schemas.signatures import EXAMPLES, FLAG, PROBABILITY
from trainer.tasks import Task

_PATIENT_METRICS = 'components.evaluator.patient_metrics'


def eval_config(parameters: EvaluationParameters, task: Task) -> config_pb2.EvalConfig:
    """The configuration for a model of a task, with the label that ingestion derived."""
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
            # Only value 1: the images without a finding say nothing about it.
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
    """The metrics of the registry with the thresholds, each for its slice.

    A plain threshold would apply to every slice, even where its metric is not defined.
    """
    settings = {
        'label': task.label,
        'findings': list(task.findings),
        'replicates': parameters.replicates,
        'level': parameters.interval,
        'min_positives': parameters.min_group_positives,
    }
    # Named by its module: importing it here would import TFMA's metrics.
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
        # TFX drops change thresholds while nothing is served. This bound remains: every number
        # meets it, and an undefined metric, NaN, does not.
        bound.value_threshold.lower_bound.value = -math.inf
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[_slicing_spec(threshold)], threshold=bound
    )


def thresholds(eval_config_json: str) -> tuple[Threshold, ...]:
    """The thresholds in TFMA's configuration, as `eval_config` wrote them and each run records."""
    return tuple(_thresholds(_parse(eval_config_json)))


def interval_level(eval_config_json: str) -> float:
    """The level of the intervals in TFMA's configuration, e.g. 0.95."""
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
        for metric, of_metric in spec.per_slice_thresholds.items():
            for bound in of_metric.thresholds:
                for slicing in bound.slicing_specs:
                    yield _threshold(metric, dict(slicing.feature_values), bound.threshold)


def _threshold(metric: str, slice_values: dict, bound: config_pb2.MetricThreshold) -> Threshold:
    value, change = bound.value_threshold, bound.change_threshold
    # Minus infinity only requires a value, see `_bound`.
    lower = value.lower_bound.value if value.HasField('lower_bound') else -math.inf
    # Unvalidated: the record may be of a version with other metrics.
    return Threshold.model_construct(
        metric=metric,
        slice=slice_values,
        min=lower if math.isfinite(lower) else None,
        max=value.upper_bound.value if value.HasField('upper_bound') else None,
        max_worse=abs(change.absolute.value) if bound.HasField('change_threshold') else None,
    )
