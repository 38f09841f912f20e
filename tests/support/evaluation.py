"""Runs the Evaluator on a model, without a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import json_format
from tfx import types
from tfx.types import standard_artifacts

from components.evaluator.executor import Executor
from pipeline import evaluation
from pipeline.evaluation_parameters import EvaluationParameters
from trainer.tasks import Task


def evaluate(
    parameters: EvaluationParameters,
    task: Task,
    examples: Path,
    model: Path,
    out: Path,
    baseline: Path | None = None,
    beam_args: Sequence[str] = (),
) -> tuple[str, bool]:
    """Runs the Evaluator; returns the folder of the evaluation and whether the model is blessed.

    Args:
      parameters: metrics, slices, thresholds.
      task: of the model.
      examples: a folder with `Split-test`.
      model: the artifact of the candidate, a folder with `Format-Serving`.
      out: the folder for the outputs.
      baseline: the artifact of the served model.
      beam_args: arguments of Beam; by default it runs in this process.
    """
    inputs: dict[str, list[types.Artifact]] = {'examples': [standard_artifacts.Examples()]}
    inputs['examples'][0].uri = str(examples)
    inputs['examples'][0].split_names = '["test"]'
    for key, path in (('model', model), ('baseline_model', baseline)):
        if path is not None:
            inputs[key] = [standard_artifacts.Model()]
            inputs[key][0].uri = str(path)
    evaluated, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    evaluated.uri, blessing.uri = str(out / 'evaluation'), str(out / 'blessing')
    properties = {
        'eval_config': json_format.MessageToJson(
            evaluation.eval_config(parameters, task), preserving_proto_field_name=True
        ),
        'example_splits': '["test"]',
        'fairness_indicator_thresholds': 'null',
    }
    options = PipelineOptions(list(beam_args) or ['--runner=FnApiRunner'])
    context = Executor.Context(
        make_beam_pipeline_fn=lambda: beam.Pipeline(options=options),
        tmp_dir=str(out),
        unique_id='1',
    )
    Executor(context).Do(inputs, {'evaluation': [evaluated], 'blessing': [blessing]}, properties)
    return evaluated.uri, bool(blessing.get_int_custom_property('blessed'))
