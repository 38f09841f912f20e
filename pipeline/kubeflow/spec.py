"""Compiles the graph of a local run into a Kubeflow Pipelines v2 specification.

TFX compiles the graph. This module adds what TFX lacks: the command of the containers, resources,
retries, pipeline parameters instead of constants, and the second document from which Kubeflow reads
node selectors, tolerations and secrets.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, Literal

import yaml
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from pipeline.kubeflow import validation
from pipeline.kubeflow.parameters import KubeflowParameters, StepResources
from pipeline.kubeflow.validation import SCHEMA_VERSION, Spec
from pipeline.steps import BASELINE, DATA_GATE, EVALUATOR, INGESTION, PUSHER, TRAINER, TUNER

Target = Literal['kubeflow', 'vertex']
ENTRYPOINT = ['python', '-m', 'pipeline.kubeflow.entrypoint']
# Pipeline parameter -> the step and its parameter. These can change from run to run without
# compiling again: the default is the compiled value, and `cxr-triage submit` computes new values.
PIPELINE_PARAMETERS: dict[str, tuple[str, str]] = {
    'data': (INGESTION.name, 'data'),
    'fingerprint': (INGESTION.name, 'fingerprint'),
    'limits': (DATA_GATE.name, 'limits'),
    'training': (TRAINER.name, 'custom_config'),
    'evaluation': (EVALUATOR.name, 'eval_config'),
    'baseline-version': (BASELINE.name, 'version'),
    'push': (PUSHER.name, 'push'),
}
_GPU_STEPS = (TRAINER.name, TUNER.name)
_SPOT = 'cloud.google.com/gke-spot'


class SpecError(ValueError):
    """A pipeline that Kubeflow does not accept; the text says what to change."""


def compile_spec(
    pipeline: tfx_pipeline.Pipeline,
    parameters: KubeflowParameters,
    path: str,
    target: Target = 'kubeflow',
) -> None:
    """Writes the specification of a pipeline.

    Args:
      pipeline: the pipeline, from `pipeline.create_pipeline`.
      parameters: images, resources, secrets, retries.
      path: a `.yaml` file; Kubeflow accepts no other format.
      target: open-source Kubeflow Pipelines, or Vertex AI Pipelines.

    Example:
        >>> config = load('pipeline/configs/nih_triage_gke.yaml', root='gs://bucket/runs',
        ...               data__root='gs://bucket/nih', kubeflow__image='cxr-triage:1')
        >>> pipeline = create_pipeline(config, 'first', weights_digest='', read_target=False)
        >>> compile_spec(pipeline, config.kubeflow, 'nih_triage.yaml')

    Raises:
      SpecError: `path` does not end in `.yaml`, or Kubeflow would not accept the pipeline.
      OSError: the file cannot be written.
    """
    if not path.endswith('.yaml'):
        raise SpecError(f'{path}: a pipeline specification for Kubeflow ends in .yaml')
    specification = documents(pipeline, parameters, target)
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    # Replaced in one step, because a part of a specification can be a valid specification.
    with tempfile.NamedTemporaryFile(
        'w', dir=folder, suffix='.part', delete=False, encoding='utf-8'
    ) as file:
        try:
            yaml.safe_dump_all(specification, file, sort_keys=True, width=140)
        except BaseException:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def documents(
    pipeline: tfx_pipeline.Pipeline, parameters: KubeflowParameters, target: Target = 'kubeflow'
) -> list[Spec]:
    """The pipeline specification and, for Kubeflow, the platform specification unless it is empty.

    Raises:
      SpecError: Kubeflow would not accept the pipeline, or `parameters.steps` names a step that the
        pipeline does not have.
    """
    spec = _compiled(pipeline, parameters, target)
    tasks = spec['root']['dag']['tasks']
    unknown = sorted(set(parameters.steps) - set(tasks))
    if unknown:
        raise SpecError(
            f'kubeflow.steps names {", ".join(unknown)}: no such step. The steps are: '
            f'{", ".join(sorted(tasks))}'
        )
    beam_steps = _beam_steps(pipeline)
    for name in tasks:
        container = executor_of(spec, name)['container']
        if name not in beam_steps:
            # TFX adds the Beam arguments to all steps. The entry point would take them as a sign of
            # remote workers and keep URIs, but these steps need paths.
            container['args'] = [
                arg for arg in container['args'] if arg not in pipeline.beam_pipeline_args
            ]
        resources = parameters.of(name)
        container['resources'] = _resources(resources)
        if resources.accelerator and name in _GPU_STEPS and parameters.gpu_image:
            container['image'] = parameters.gpu_image
        if parameters.retries.count:
            tasks[name]['retryPolicy'] = {
                'maxRetryCount': parameters.retries.count,
                'backoffDuration': f'{parameters.retries.wait_s}s',
                'backoffFactor': parameters.retries.factor,
                'backoffMaxDuration': f'{parameters.retries.give_up_after_s}s',
            }
    _parametrise(spec)
    messages = validation.problems(spec)
    if messages:
        raise SpecError('\n'.join(messages))
    platform = _platform(spec, parameters) if target == 'kubeflow' else {}
    return [spec, *([platform] if platform else [])]


def _beam_steps(pipeline: tfx_pipeline.Pipeline) -> set[str]:
    """The steps that build a Beam pipeline."""
    components = (
        node for node in pipeline.components if isinstance(node, base_component.BaseComponent)
    )
    return {
        component.id
        for component in components
        if isinstance(component.executor_spec, executor_spec.BeamExecutorSpec)
    }


def executor_of(spec: Spec, task: str) -> dict[str, Any]:
    """The executor of a step."""
    return spec['deploymentSpec']['executors'][_label(spec, task)]


def _label(spec: Spec, task: str) -> str:
    """The name of a step's executor in both documents."""
    return spec['components'][spec['root']['dag']['tasks'][task]['componentRef']['name']][
        'executorLabel'
    ]


def _compiled(
    pipeline: tfx_pipeline.Pipeline, parameters: KubeflowParameters, target: Target
) -> Spec:
    """The pipeline as TFX compiles it."""
    if not parameters.image:
        raise SpecError('no image: give the image of the steps with --image or as kubeflow.image')
    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        display_name=pipeline.pipeline_info.pipeline_name,
        default_image=parameters.image,
        # Vertex works with TFX's own entry point.
        default_commands=ENTRYPOINT
        if target == 'kubeflow'
        else list(kubeflow_v2_dag_runner.KUBEFLOW_TFX_CMD),
        # Kubeflow Pipelines refuses the older schema 2.0, which is TFX's default.
        use_pipeline_spec_2_1=True,
    )
    job = kubeflow_v2_dag_runner.KubeflowV2DagRunner(config).run(pipeline, write_out=False)
    spec = job['pipelineSpec']
    if spec['schemaVersion'] != SCHEMA_VERSION:
        raise SpecError(
            f'this TFX writes schema {spec["schemaVersion"]}, but Kubeflow needs '
            f'{SCHEMA_VERSION}: use a locked environment'
        )
    return spec


def _resources(resources: StepResources) -> dict[str, Any]:
    settings: dict[str, Any] = {'cpuLimit': resources.cpu, 'memoryLimit': resources.memory_gb}
    settings |= {'cpuRequest': resources.cpu, 'memoryRequest': resources.memory_gb}
    if resources.accelerator:
        settings['accelerator'] = {
            'type': resources.accelerator,
            'count': str(resources.accelerators),
        }
    return settings


def _parametrise(spec: Spec) -> None:
    """Replaces constants by pipeline parameters that have these constants as their defaults."""
    tasks = spec['root']['dag']['tasks']
    definitions = spec['root'].setdefault('inputDefinitions', {}).setdefault('parameters', {})
    for name, (task, key) in PIPELINE_PARAMETERS.items():
        inputs = tasks[task]['inputs']['parameters']
        definitions[name] = {
            'parameterType': 'STRING',
            'defaultValue': inputs[key]['runtimeValue']['constant'],
            'description': f'{key} of {task}',
        }
        inputs[key] = {'componentInputParameter': name}


def _platform(spec: Spec, parameters: KubeflowParameters) -> Spec:
    """Returns the Kubernetes settings of the pods, or an empty document."""
    common: dict[str, Any] = {}
    if as_env := [secret for secret in parameters.secrets if secret.env]:
        common['secretAsEnv'] = [
            {
                'secretName': item.name,
                'keyToEnv': [{'secretKey': key, 'envVar': name} for key, name in item.env.items()],
            }
            for item in as_env
        ]
    if mounted := [secret for secret in parameters.secrets if secret.mount]:
        common['secretAsVolume'] = [
            {'secretName': item.name, 'mountPath': item.mount} for item in mounted
        ]
    if parameters.volumes:
        common['pvcMount'] = [
            {'constant': item.claim, 'mountPath': item.mount} for item in parameters.volumes
        ]
    executors = {}
    for task in spec['root']['dag']['tasks']:
        if settings := common | _node(parameters.of(task)):
            executors[_label(spec, task)] = settings
    return (
        {'platforms': {'kubernetes': {'deploymentSpec': {'executors': executors}}}}
        if executors
        else {}
    )


def _node(resources: StepResources) -> dict[str, Any]:
    """The settings that select the nodes on which a pod can run."""
    selector = resources.node_selector | ({_SPOT: 'true'} if resources.spot else {})
    tolerations = [item.model_dump(exclude_none=True) for item in resources.tolerations]
    if resources.spot:
        tolerations.append(
            {'key': _SPOT, 'operator': 'Equal', 'value': 'true', 'effect': 'NoSchedule'}
        )
    return ({'nodeSelector': {'labels': selector}} if selector else {}) | (
        {'tolerations': tolerations} if tolerations else {}
    )
