"""Builds the graph of components, for every runner. No other module connects components."""

from __future__ import annotations

import hashlib
import json
import os
import uuid

from ml_metadata.proto import metadata_store_pb2

# Not through tfx.v1, which also imports Google's Vertex AI client (2 s) that nothing here needs.
from tfx import components as tfx_components
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2

import storage
from components.baseline.component import Baseline
from components.curated_schema.component import CuratedSchema
from components.data_audit.component import DataAudit
from components.data_gate.component import DataGate
from components.evaluator.component import Evaluator
from components.evaluator.expert_labels import ExpertComparison
from components.pusher import target as push_target
from components.pusher.component import Pusher
from components.pusher.parameters import PushParameters
from components.serving_check.component import ServingCheck
from components.xray_example_gen.component import XrayExampleGen
from pipeline import evaluation
from pipeline.code_digest import digest
from pipeline.config import Config
from pipeline.kubeflow.entrypoint import store_uri
from pipeline.run_inputs import file_digest
from pipeline.run_root import RunRoot
from pipeline.steps import (
    AUDIT,
    DATA_GATE,
    EVALUATOR,
    STATISTICS,
    TRAINER,
    TRANSFORM,
    TUNER,
    VALIDATION,
)
from trainer import training, warm_start
from trainer.parameters import TrainerParameters
from trainer.tasks import TASKS

_PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMA_FILE = os.path.join(_PROJECT, 'schemas', 'raw_schema.pbtxt')
_SETUP = os.path.join(_PROJECT, 'setup.py')
# The file is missing where the project was installed without its working copy.
SETUP_FILE = _SETUP if os.path.exists(_SETUP) else None
_TFX_COMPONENTS = (
    STATISTICS.name,
    VALIDATION.name,
    TRANSFORM.name,
    TUNER.name,
    TRAINER.name,
    EVALUATOR.name,
)
_CHECKS = (STATISTICS.name, VALIDATION.name, AUDIT.name, DATA_GATE.name)
# Evaluator reads raw examples, so the test split is not transformed.
_TRANSFORMED_SPLITS = ['train', 'val', 'calibration']


def create_pipeline(
    config: Config,
    fingerprint: str,
    metadata: metadata_store_pb2.ConnectionConfig | None = None,
    setup_file: str | None = SETUP_FILE,
    *,
    weights_digest: str | None = None,
    read_target: bool = True,
) -> Pipeline:
    """Builds the TFX pipeline of an experiment.

    Args:
      config: the configuration, with `root` and `data.root` set.
      fingerprint: the fingerprint of the data when the run starts (`run_inputs.data_fingerprint`).
      metadata: the connection to the metadata store, for runners that need one.
      setup_file: path of this project's setup.py when the steps run; None if there is none.
      weights_digest: identifies the weights where this machine cannot read them; None computes the
        digest from the file.
      read_target: whether to read the push target to find the served version. If False, the graph
        assumes that no model is served, and the Pusher refuses to push if one is.

    Returns:
      The pipeline, for `local_runner.run` or `kubeflow.spec.compile_spec`.

    Example:
        >>> config = load('pipeline/configs/demo.yaml', root='runs/demo', data__root='data')
        >>> pipeline = create_pipeline(config, data_fingerprint(config))
        >>> pipeline.pipeline_info.pipeline_name
        'demo'

    Raises:
      TargetError: the newest version in the push target is damaged, so that no candidate can be
        compared with it; or a training cannot start from it.
    """
    assert config.root is not None
    for name in _TFX_COMPONENTS:
        # TFX replaces a component by None if its import fails.
        if getattr(tfx_components, name) is None:
            raise RuntimeError(
                f'tfx.components.{name} could not be imported: the environment is broken; remove '
                '.venv and run `make environment`'
            )
    if weights_digest is None:
        weights_digest = _weights_digest(config)
    prepared, candidate = _prepared(config, fingerprint, weights_digest)
    trainer = _trainer(config, candidate, weights_digest)
    # Audit and gate can stop a run, but their results do not change the model. Without the version
    # of a warm start, so that the run that made the served version is recognised when it repeats.
    key = _key([item for item in (*prepared, trainer) if item.id not in _CHECKS])
    directory = config.push_directory
    served = push_target.newest(directory) if read_target else None
    plan = push_target.plan_push(served, key, artifact_exists, uuid.uuid4().hex)
    baseline = Baseline(
        target=directory,
        version=plan.baseline_version,
        code_digest=digest('components.baseline.executor'),
    )
    if config.train.warm_start != 'none':
        _check_warm_start(config, plan.baseline_version)
        trainer = _trainer(config, candidate, weights_digest, baseline)
    candidate |= {'model': trainer.outputs['model'], 'model_run': trainer.outputs['model_run']}
    components = [
        *prepared,
        trainer,
        baseline,
        *_gate_and_push(config, candidate, baseline, plan, key),
    ]
    return Pipeline(
        pipeline_name=config.pipeline,
        pipeline_root=config.artifacts_directory,
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=[*config.beam.arguments(setup_file)],
    )


def _prepared(config: Config, fingerprint: str, weights_digest: str) -> tuple[list, dict]:
    """The components before the Trainer, and the channels that the rest of the graph needs."""
    examples = XrayExampleGen(
        # Another expert table neither ingests nor trains again.
        data=config.data.model_dump_json(exclude={'expert_labels'}),
        task=config.task,
        label=TASKS[config.task].label,
        fingerprint=fingerprint,
        code_digest=digest('components.xray_example_gen.executor'),
    )
    schema = CuratedSchema(_schema_text())
    statistics = tfx_components.StatisticsGen(
        examples=examples.outputs['examples'], schema=schema.outputs['schema']
    )
    validator = tfx_components.ExampleValidator(
        statistics=statistics.outputs['statistics'], schema=schema.outputs['schema']
    )
    audit = DataAudit(
        examples=examples.outputs['examples'],
        parameters=config.audit.model_copy(
            update={'task_label': TASKS[config.task].label}
        ).model_dump_json(),
        code_digest=digest('components.data_audit.executor'),
    )
    gate = DataGate(
        anomalies=validator.outputs['anomalies'],
        audit=audit.outputs['audit'],
        ingest_report=examples.outputs['report'],
        limits=config.gate.model_dump_json(),
        code_digest=digest('components.data_gate.executor'),
    )
    transform = tfx_components.Transform(
        examples=examples.outputs['examples'],
        schema=schema.outputs['schema'],
        preprocessing_fn='trainer.preprocessing.preprocessing_fn',
        splits_config=transform_pb2.SplitsConfig(analyze=['train'], transform=_TRANSFORMED_SPLITS),
        # Statistics of PNG bytes say nothing; the audit has checked the pixels.
        disable_statistics=True,
        custom_config={
            'image_size': config.model.image_size,
            'code_digest': digest('trainer.preprocessing'),
        },
    )
    transform.add_upstream_node(gate)
    tuners = [_tuner(config, transform, weights_digest)] if config.tuning.trials else []
    return [examples, schema, statistics, validator, audit, gate, transform, *tuners], {
        'examples': examples.outputs['examples'],
        'schema': schema.outputs['schema'],
        'transformed_examples': transform.outputs['transformed_examples'],
        'transform_graph': transform.outputs['transform_graph'],
        'hyperparameters': tuners[0].outputs['best_hyperparameters'] if tuners else None,
    }


def _parameters(config: Config) -> TrainerParameters:
    return TrainerParameters(
        model=config.model, train=config.train, operating_point=config.operating_point
    )


def _tuner(config: Config, transform, weights_digest: str) -> tfx_components.Tuner:
    return tfx_components.Tuner(
        tuner_fn='trainer.tuning.tuner_fn',
        examples=transform.outputs['transformed_examples'],
        transform_graph=transform.outputs['transform_graph'],
        train_args=trainer_pb2.TrainArgs(splits=['train']),
        eval_args=trainer_pb2.EvalArgs(splits=['val']),
        custom_config={
            'parameters': _parameters(config).model_dump_json(),
            'tuning': config.tuning.model_dump_json(),
            'task': config.task,
            'weights_digest': weights_digest,
            'code_digest': digest('trainer.tuning'),
        },
    )


def _trainer(
    config: Config, channels: dict, weights_digest: str, baseline: Baseline | None = None
) -> tfx_components.Trainer:
    """The Trainer, which starts from the model of `baseline` if there is one."""
    start = {'warm_start': baseline.exec_properties['version']} if baseline else {}
    return tfx_components.Trainer(
        run_fn='trainer.run.run_fn',
        examples=channels['transformed_examples'],
        transform_graph=channels['transform_graph'],
        schema=channels['schema'],
        base_model=baseline.outputs['model'] if baseline else None,
        hyperparameters=channels['hyperparameters'],
        train_args=trainer_pb2.TrainArgs(splits=['train']),
        eval_args=trainer_pb2.EvalArgs(splits=['val', 'calibration']),
        custom_config={
            'parameters': _parameters(config).model_dump_json(),
            'task': config.task,
            'pipeline': config.pipeline,
            'weights_digest': weights_digest,
            'checkpoints': _checkpoints(config),
            'code_digest': digest('trainer.run'),
            **start,
        },
    )


def _checkpoints(config: Config) -> str:
    """The folder for checkpoints; '' if TensorFlow cannot write to the root directly."""
    root = config.root or ''
    is_usable = not storage.is_remote(root) or root.startswith('gs://')
    return RunRoot(root).checkpoints if is_usable else ''


def warm_start_version(pipeline: Pipeline) -> str:
    """The served version that the training of a pipeline starts from; '' if it does not."""
    (trainer,) = (item for item in pipeline.components if item.id == TRAINER.name)
    return json.loads(trainer.exec_properties['custom_config']).get('warm_start', '')


def _check_warm_start(config: Config, version: str) -> None:
    """Checks before a run that its training can start from a served version.

    Raises:
      TargetError: it cannot; the text says what differs.
    """
    directory = config.push_directory
    if version == push_target.NO_VERSION:
        raise push_target.TargetError(
            f'train.warm_start is served, but no model is served from {directory}: set it to none '
            'for the first model'
        )
    path = storage.join(directory, version)
    # A cached run does not need the version that it once started from.
    if storage.exists(path):
        labels = training.targets(TASKS[config.task], config.train).labels
        try:
            warm_start.check(path, config.model, labels)
        except warm_start.WarmStartError as error:
            raise push_target.TargetError(str(error)) from error


def _gate_and_push(
    config: Config, candidate: dict, baseline: Baseline, plan: push_target.PushPlan, key: str
) -> list:
    """The components that decide whether the candidate is served."""
    evaluator = Evaluator(
        examples=candidate['examples'],
        example_splits=['test'],
        model=candidate['model'],
        baseline_model=baseline.outputs['model'],
        eval_config=evaluation.eval_config(config.evaluation, TASKS[config.task]),
        schema=candidate['schema'],
        code_digest=digest('components.evaluator.executor', 'components.evaluator.patient_metrics'),
        expert_labels=_expert_labels(config),
    )
    serving_check = ServingCheck(
        model=candidate['model'],
        model_run=candidate['model_run'],
        examples=candidate['examples'],
        parameters=config.serving_check.model_dump_json(),
        code_digest=digest('components.serving_check.executor'),
    )
    push = PushParameters(
        target=config.push_directory,
        candidate_key=key,
        push_nonce=plan.push_nonce,
        baseline_version=plan.baseline_version,
        pipeline_name=config.pipeline,
        config=config.settings(),
        keep_versions=config.push.keep_versions,
    )
    pusher = Pusher(
        model=candidate['model'],
        model_blessing=evaluator.outputs['blessing'],
        infra_blessing=serving_check.outputs['blessing'],
        evaluation=evaluator.outputs['evaluation'],
        push=push.model_dump_json(),
        code_digest=digest('components.pusher.executor'),
    )
    return [evaluator, serving_check, pusher]


def artifact_exists(uri: str) -> bool:
    """Whether the artifact of an earlier run still exists.

    A step on Kubeflow knows its artifacts by the launcher's paths, which exist only during the
    step. Artifacts in a store that TensorFlow cannot open are assumed to exist, as Kubeflow's own
    cache assumes.
    """
    if not storage.is_remote(uri) and storage.exists(uri):
        return True
    uri = store_uri(uri)
    return uri.startswith(('s3://', 'minio://')) or storage.exists(uri)


def _key(components: list) -> str:
    """A key for the candidate: a hash over the parameters of the components that produce it."""
    text = json.dumps(
        [[component.id, component.exec_properties] for component in components],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _expert_labels(config: Config) -> str:
    """What the Evaluator is to do with the table of experts' labels; '' without one."""
    experts, task = config.data.expert_labels, TASKS[config.task]
    if not experts.file:
        return ''
    assert config.data.root is not None
    path = storage.resolve(config.data.root, experts.file)
    return ExpertComparison(
        table=path,
        image=experts.image,
        columns=experts.columns,
        label=task.label,
        findings=task.findings,
        replicates=config.evaluation.replicates,
        level=config.evaluation.interval,
        digest=file_digest(path),
    ).model_dump_json()


def _weights_digest(config: Config) -> str:
    """A digest of the weights file: another file at the same path is another experiment."""
    return file_digest(config.model.weights) if config.model.weights else ''


def _schema_text() -> str:
    with open(SCHEMA_FILE, encoding='utf-8') as file:
        return file.read()
