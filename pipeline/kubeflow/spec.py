"""The pipeline as a Kubeflow Pipelines v2 specification, from the same graph that runs here.

TFX compiles the graph; what it leaves out is added to the document: the container's command,
resources, retries, pipeline parameters in the place of constants, and the second document that
Kubeflow reads for node selectors, tolerations and secrets.
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
# Pipeline parameter -> the step and its parameter that it stands for: what can change from run to
# run without compiling again. Each has the compiled value as its default, and `cxr-triage submit`
# works the new ones out.
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
    """A pipeline that Kubeflow would refuse; the text says what to change."""


def compile_spec(
    pipeline: tfx_pipeline.Pipeline,
    parameters: KubeflowParameters,
    path: str,
    target: Target = 'kubeflow',
) -> None:
    """Writes the specification of a pipeline.

    Args:
      pipeline: from `pipeline.create_pipeline`.
      parameters: images, resources, secrets, retries.
      path: a `.yaml` file; Kubeflow takes no other form.
      target: open-source Kubeflow Pipelines, or Vertex AI Pipelines.

    Raises:
      SpecError: `path` does not end in `.yaml`, or the pipeline would be refused.
      OSError: the file cannot be written.
    """
    if not path.endswith('.yaml'):
        raise SpecError(f'{path}: a pipeline specification for Kubeflow ends in .yaml')
    specification = documents(pipeline, parameters, target)
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    # Whole or not at all: half a specification can be a valid one.
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
    """The pipeline specification, and for Kubeflow the platform specification where there is
    something to say in it.

    Raises:
      SpecError: the pipeline would be refused, or a step of `parameters.steps` is none of the
        pipeline's.
    """
    spec = _compiled(pipeline, parameters, target)
    tasks = spec['root']['dag']['tasks']
    unknown = sorted(set(parameters.steps) - set(tasks))
    if unknown:
        raise SpecError(
            f'kubeflow.steps names {", ".join(unknown)}: no such step. There are: '
            f'{", ".join(sorted(tasks))}'
        )
    beam_steps = _beam_steps(pipeline)
    for name in tasks:
        container = executor_of(spec, name)['container']
        if name not in beam_steps:
            # TFX gives them to all steps. A step whose workers are elsewhere keeps its URIs (see
            # pipeline.kubeflow.entrypoint), others need paths.
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
    """The name of a step's executor, by which both documents know it."""
    return spec['components'][spec['root']['dag']['tasks'][task]['componentRef']['name']][
        'executorLabel'
    ]


def _compiled(
    pipeline: tfx_pipeline.Pipeline, parameters: KubeflowParameters, target: Target
) -> Spec:
    """As TFX compiles it."""
    if not parameters.image:
        raise SpecError('no image: give the one of the steps with --image, or as kubeflow.image')
    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        display_name=pipeline.pipeline_info.pipeline_name,
        default_image=parameters.image,
        # Vertex hands TFX what it expects.
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
    """Puts pipeline parameters in the place of constants, with these as their defaults."""
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
    everywhere: dict[str, Any] = {}
    if as_env := [secret for secret in parameters.secrets if secret.env]:
        everywhere['secretAsEnv'] = [
            {
                'secretName': item.name,
                'keyToEnv': [{'secretKey': key, 'envVar': name} for key, name in item.env.items()],
            }
            for item in as_env
        ]
    if mounted := [secret for secret in parameters.secrets if secret.mount]:
        everywhere['secretAsVolume'] = [
            {'secretName': item.name, 'mountPath': item.mount} for item in mounted
        ]
    if parameters.volumes:
        everywhere['pvcMount'] = [
            {'constant': item.claim, 'mountPath': item.mount} for item in parameters.volumes
        ]
    executors = {}
    for task in spec['root']['dag']['tasks']:
        if settings := everywhere | _node(parameters.of(task)):
            executors[_label(spec, task)] = settings
    return (
        {'platforms': {'kubernetes': {'deploymentSpec': {'executors': executors}}}}
        if executors
        else {}
    )


def _node(resources: StepResources) -> dict[str, Any]:
    """On which nodes a pod may run."""
    selector = resources.node_selector | ({_SPOT: 'true'} if resources.spot else {})
    tolerations = [item.model_dump(exclude_none=True) for item in resources.tolerations]
    if resources.spot:
        tolerations.append(
            {'key': _SPOT, 'operator': 'Equal', 'value': 'true', 'effect': 'NoSchedule'}
        )
    return ({'nodeSelector': {'labels': selector}} if selector else {}) | (
        {'tolerations': tolerations} if tolerations else {}
    )
