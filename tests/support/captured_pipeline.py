"""The pipeline from whose runs the inputs of Kubeflow's driver were captured."""

from __future__ import annotations

import copy

import tensorflow_data_validation as tfdv
from tensorflow_model_analysis.proto import config_pb2
from tfx import components as tfx
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2, transform_pb2

NAME = 'cxr-nores'
_ADDED = ('display_name', 'store_session_info')


def compiled(captured: dict[str, dict]) -> dict:
    """Compiles the pipeline with the installed TFX.

    TFX versions write options differently, so the parameters come from the captured inputs.
    """
    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        display_name=NAME, default_image='captured', use_pipeline_spec_2_1=True
    )
    spec = kubeflow_v2_dag_runner.KubeflowV2DagRunner(config).run(_pipeline(), write_out=False)[
        'pipelineSpec'
    ]
    for name, task in spec['root']['dag']['tasks'].items():
        inputs = captured[name]['inputs'].get('parameterValues', {})
        assert set(task['inputs']['parameters']) == set(inputs), name
        for key, value in inputs.items():
            task['inputs']['parameters'][key] = {'runtimeValue': {'constant': value}}
    return spec


def _pipeline() -> Pipeline:
    examples = tfx.ImportExampleGen(input_base='/data/data', output_config=example_gen_pb2.Output())
    schema = ImportSchemaGen(schema_file='/data/schema.pbtxt')
    options = tfdv.StatsOptions(feature_allowlist=['No Finding'])
    statistics = tfx.StatisticsGen(examples=examples.outputs['examples'], stats_options=options)
    inferred = tfx.SchemaGen(statistics=statistics.outputs['statistics'], infer_feature_shape=True)
    validator = tfx.ExampleValidator(
        statistics=statistics.outputs['statistics'], schema=schema.outputs['schema']
    )
    transform = tfx.Transform(
        examples=examples.outputs['examples'],
        schema=schema.outputs['schema'],
        preprocessing_fn='cxr.preprocessing.preprocessing_fn',
        splits_config=transform_pb2.SplitsConfig(
            analyze=['train'], transform=['train', 'eval', 'test']
        ),
        disable_statistics=True,
        custom_config={'mode': 'png'},
    )
    trainer = tfx.Trainer(
        run_fn='cxr.trainer.run_fn',
        examples=transform.outputs['transformed_examples'],
        transform_graph=transform.outputs['transform_graph'],
        schema=schema.outputs['schema'],
        train_args=trainer_pb2.TrainArgs(splits=['train']),
        eval_args=trainer_pb2.EvalArgs(splits=['eval']),
        custom_config={'mode': 'png'},
    )
    evaluator = tfx.Evaluator(
        examples=examples.outputs['examples'],
        example_splits=['test'],
        model=trainer.outputs['model'],
        schema=schema.outputs['schema'],
        eval_config=config_pb2.EvalConfig(),
    )
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory='/srv/serving')
    )
    pusher = tfx.Pusher(
        model=trainer.outputs['model'],
        model_blessing=evaluator.outputs['blessing'],
        push_destination=destination,
        custom_config={},
    )
    parts = [
        examples,
        schema,
        statistics,
        inferred,
        validator,
        transform,
        trainer,
        evaluator,
        pusher,
    ]
    return Pipeline(pipeline_name=NAME, pipeline_root='unused', components=parts, enable_cache=True)


def reported(captured: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """Step -> output -> the metadata that the step reported, without what Kubeflow adds.

    It comes from the inputs of later steps.
    """
    artifacts: dict[str, dict[str, dict]] = {}
    for executor_input in captured.values():
        for entry in executor_input['inputs'].get('artifacts', {}).values():
            (artifact,) = entry['artifacts']
            *_, step, _, key = artifact['uri'].split('/')
            metadata = copy.deepcopy(artifact['metadata'])
            artifacts.setdefault(step, {})[key] = {
                name: value for name, value in metadata.items() if name not in _ADDED
            }
    return artifacts
