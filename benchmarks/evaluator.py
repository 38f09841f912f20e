"""Runs only the Evaluator of the pipeline, on a model and the test split of a run.

python -m benchmarks.evaluator MODEL ROOT OUT
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from google.protobuf import json_format
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from benchmarks import finished_run
from components import beam_batches
from components.evaluator.executor import Executor
from pipeline import config, evaluation
from pipeline.create_pipeline import SETUP_FILE
from trainer.tasks import TASKS

EXPERIMENT = Path(config.__file__).parent / 'configs/nih_triage.yaml'


def evaluate(model: str, root: Path, out: Path) -> float:
    """Runs the component, and returns its seconds. The evaluation is written under `out`."""
    experiment = config.load(str(EXPERIMENT))
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, schema.uri = (
        str(finished_run.newest(root, artifact))
        for artifact in ('XrayExampleGen/examples', 'CuratedSchema/schema')
    )
    examples.split_names = json.dumps(['train', 'val', 'calibration', 'test'])
    examples.set_string_custom_property('payload_format', 'FORMAT_TF_EXAMPLE')
    candidate = standard_artifacts.Model()
    # The artifact is the folder of the model.
    candidate.uri = str(Path(model).parent)
    model_evaluation, blessing = (
        standard_artifacts.ModelEvaluation(),
        standard_artifacts.ModelBlessing(),
    )
    model_evaluation.uri, blessing.uri = str(out / 'evaluation'), str(out / 'blessing')
    eval_config = evaluation.eval_config(experiment.evaluation, TASKS[experiment.task])
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=[*experiment.beam.arguments(SETUP_FILE)],
        tmp_dir=str(out / 'temporary'),
        unique_id='1',
    )
    properties = {
        'example_splits': json.dumps(['test']),
        'eval_config': json_format.MessageToJson(eval_config),
        'fairness_indicator_thresholds': 'null',
    }
    beam_batches.prepare()
    start = time.monotonic()
    Executor(context).Do(
        {'examples': [examples], 'model': [candidate], 'schema': [schema]},
        {'evaluation': [model_evaluation], 'blessing': [blessing]},
        properties,
    )
    return time.monotonic() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', help='.../Format-Serving')
    parser.add_argument('root', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args(argv)
    logging.disable(logging.INFO)
    print(f'evaluated in {evaluate(args.model, args.root, args.out):.2f} s')


if __name__ == '__main__':
    main()
