"""The TFMA configuration of the Evaluator: metrics, slices, and the gate's thresholds."""

from __future__ import annotations

import json
import math

# The protos by their module: TFMA's top level lost some of them in later versions.
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation_parameters import FINDINGS_SLICE, METRICS, EvaluationParameters, Threshold
from schemas.labels import FINDINGS
from schemas.signatures import EXAMPLES, FLAG, PROBABILITY
from trainer.tasks import Task

_PATIENT_METRICS = 'components.evaluator.patient_metrics'


def eval_config(parameters: EvaluationParameters, task: Task) -> config_pb2.EvalConfig:
    """Builds the configuration for a model with the outputs `probability` and `flag` and the label
    that ingestion derived.
    """
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
            # Value 1 alone: a slice of all without a finding says nothing of it.
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
    """All metrics that a threshold can be set on, and the thresholds. A plain one would hold for
    every slice, also where its metric is not defined."""
    settings = {
        'label': task.label,
        'findings': list(task.findings),
        'replicates': parameters.replicates,
        'level': parameters.interval,
        'min_positives': parameters.min_group_positives,
    }
    # By the name of its module: importing it here would import TFMA.
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
        higher = METRICS[threshold.metric] == 'higher'
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
        # TFX drops change thresholds while nothing is served. This bound stays; every number keeps
        # it, and an undefined metric, NaN, does not.
        bound.value_threshold.lower_bound.value = -math.inf
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[_slicing_spec(threshold)], threshold=bound
    )
