"""The pipeline as a Kubeflow Pipelines v2 specification, from the same graph that runs here."""

from __future__ import annotations

import os

from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

SCHEMA_VERSION = '2.1.0'


def compile_spec(pipeline: tfx_pipeline.Pipeline, image: str, path: str) -> None:
    """Writes the specification of a pipeline.

    Args:
      pipeline: from `pipeline.create_pipeline`.
      image: the container image that runs every component.
      path: a `.yaml` file; Kubeflow takes no other form.

    Raises:
      ValueError: `path` does not end in `.yaml`.
    """
    if not path.endswith('.yaml'):
        raise ValueError(f'{path}: a pipeline specification for Kubeflow ends in .yaml')
    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        display_name=pipeline.pipeline_info.pipeline_name,
        default_image=image,
        # Kubeflow Pipelines refuses the older schema 2.0, which is TFX's default.
        use_pipeline_spec_2_1=True,
    )
    folder, name = os.path.split(os.path.abspath(path))
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(config, output_dir=folder, output_filename=name).run(pipeline, write_out=True)
