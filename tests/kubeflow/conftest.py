"""A compiled specification, and what Kubeflow's own driver was seen to hand to components."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tfx.orchestration.pipeline import Pipeline

from kubeflow import spec
from pipeline import config as config_lib
from pipeline.config import Config
from pipeline.create_pipeline import create_pipeline

_CAPTURED = Path(__file__).resolve().parents[3] / 'shared' / 'spike' / 'kfp' / 'captured'


@pytest.fixture(scope='session')
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The demo with a root in a bucket; nothing is served yet."""
    served = str(tmp_path_factory.mktemp('served'))
    return config_lib.load(
        'pipeline/configs/demo.yaml', root='gs://bucket/runs', data__root='/data', push__directory=served, kubeflow__image='cxr-triage:test'
    )


@pytest.fixture(scope='session')
def pipeline(config: Config) -> Pipeline:
    """Its graph."""
    return create_pipeline(config, 'fingerprint', setup_file='/opt/cxr-triage/setup.py')


@pytest.fixture(scope='session')
def compiled(pipeline: Pipeline, config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The specification of the demo."""
    path = tmp_path_factory.mktemp('spec') / 'demo.yaml'
    spec.compile_spec(pipeline, config.kubeflow, str(path))
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope='session')
def captured() -> dict[str, dict]:
    """Component -> what the driver of Kubeflow Pipelines 2.17.0 gave it; the test is skipped where these are not there."""
    if not _CAPTURED.is_dir():
        pytest.skip(f'captured executor inputs are not at {_CAPTURED}')
    return {path.stem: json.loads(path.read_text())['executor_input'] for path in sorted(_CAPTURED.glob('*.json'))}
