"""The TFMA configuration of the Evaluator: metrics, slices, and the gate's thresholds."""

from __future__ import annotations

import json

# The protos by their module: TFMA's top level lost some of them in later versions.
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation_parameters import FINDINGS_SLICE, METRICS, EvaluationParameters, Threshold
from trainer.contract import EXAMPLES, FLAG, PROBABILITY
from trainer.labels import FINDINGS, Task

# Our name -> (output of the model, TFMA class, its configuration). At the operating point means on the model's own flag, as each
# model carries its own threshold: a candidate and a baseline are each measured at theirs.
_TFMA: dict[str, tuple[str, str, dict]] = {
    'auc': (PROBABILITY, 'AUC', {'num_thresholds': 10_000}),
    'pr_auc': (PROBABILITY, 'AUCPrecisionRecall', {'num_thresholds': 10_000}),
    'brier_score': (PROBABILITY, 'MeanSquaredError', {}),
    'calibration_ratio': (PROBABILITY, 'Calibration', {}),
    'sensitivity': (FLAG, 'Recall', {'thresholds': [0.5]}),
    'specificity': (FLAG, 'Specificity', {'thresholds': [0.5]}),
}
assert set(_TFMA) == set(METRICS)

# Shown in the TFMA UI, without a threshold of their own.
_EXTRA: dict[str, tuple[tuple[str, dict], ...]] = {
    PROBABILITY: (
        ('ExampleCount', {}),
        ('MeanLabel', {}),
        ('MeanPrediction', {}),
        ('ConfusionMatrixPlot', {}),
        ('CalibrationPlot', {}),
    ),
    FLAG: (('Precision', {'name': 'precision', 'thresholds': [0.5]}), ('ConfusionMatrixAtThresholds', {'thresholds': [0.5]})),
}


def output_of(metric: str) -> str:
    """The model output that a metric of METRICS is computed on."""
    return _TFMA[metric][0]


def eval_config(parameters: EvaluationParameters, task: Task) -> config_pb2.EvalConfig:
    """Builds the configuration for a model with the outputs `probability` and `flag` and the label that ingestion derived."""
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(signature_name=EXAMPLES.name, label_key=task.label)],
        slicing_specs=_slices(parameters, task),
        metrics_specs=[_metrics(output, parameters.thresholds) for output in (PROBABILITY, FLAG)],
    )


def _slices(parameters: EvaluationParameters, task: Task) -> list[config_pb2.SlicingSpec]:
    specs = [config_pb2.SlicingSpec()]
    for name in parameters.slices:
        if name == FINDINGS_SLICE:
            # Value 1 alone: a slice of all without a finding says nothing of it.
            specs += [config_pb2.SlicingSpec(feature_values={finding: '1'}) for finding in FINDINGS if finding != task.label]
        else:
            specs.append(config_pb2.SlicingSpec(feature_keys=[name]))
    for threshold in parameters.thresholds:
        spec = _slicing_spec(threshold)
        if spec not in specs:
            specs.append(spec)
    return specs


def _slicing_spec(threshold: Threshold) -> config_pb2.SlicingSpec:
    return config_pb2.SlicingSpec(feature_values=threshold.slice)


def _metrics(output: str, thresholds: tuple[Threshold, ...]) -> config_pb2.MetricsSpec:
    configs = []
    for name, (its_output, class_name, settings) in _TFMA.items():
        if its_output == output:
            # A plain threshold would hold for every slice, also for those with one class, where an AUC is 0.
            bounds = [_bound(threshold) for threshold in thresholds if threshold.metric == name]
            text = json.dumps({'name': name, **settings})
            configs.append(config_pb2.MetricConfig(class_name=class_name, config=text, per_slice_thresholds=bounds))
    for class_name, settings in _EXTRA[output]:
        configs.append(config_pb2.MetricConfig(class_name=class_name, config=json.dumps(settings) if settings else ''))
    return config_pb2.MetricsSpec(output_names=[output], metrics=configs)


def _bound(threshold: Threshold) -> config_pb2.PerSliceMetricThreshold:
    bound = config_pb2.MetricThreshold()
    if threshold.min is not None:
        bound.value_threshold.lower_bound.value = threshold.min
    if threshold.max is not None:
        bound.value_threshold.upper_bound.value = threshold.max
    if threshold.max_worse is not None:
        higher = METRICS[threshold.metric] == 'higher'
        direction = config_pb2.MetricDirection.HIGHER_IS_BETTER if higher else config_pb2.MetricDirection.LOWER_IS_BETTER
        bound.change_threshold.direction = direction
        bound.change_threshold.absolute.value = -threshold.max_worse if higher else threshold.max_worse
    return config_pb2.PerSliceMetricThreshold(slicing_specs=[_slicing_spec(threshold)], threshold=bound)
