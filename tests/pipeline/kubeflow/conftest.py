"""A compiled specification, a submitted demo, and executor inputs captured on Kubeflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tfx.orchestration.pipeline import Pipeline

from cli import main as cli
from pipeline import config as config_lib
from pipeline.config import Config
from pipeline.create_pipeline import create_pipeline
from pipeline.kubeflow import display as remote_display
from pipeline.kubeflow import spec
from records.synth import write_dataset
from tests.support import kfp_api_double as api_double
from tests.support import submit_command as submitting
from tests.support.kfp_api_double import ApiDouble
from tests.support.submit_command import Cli

_CAPTURED = Path(__file__).resolve().parents[4] / 'shared' / 'spike' / 'kfp' / 'captured'


@pytest.fixture(scope='session')
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The demo with its run root in a bucket; nothing is served yet."""
    served = str(tmp_path_factory.mktemp('served'))
    return config_lib.load(
        'pipeline/configs/demo.yaml',
        root='gs://bucket/runs',
        data__root='/data',
        push__directory=served,
        kubeflow__image='cxr-triage:test',
    )


@pytest.fixture(scope='session')
def pipeline(config: Config) -> Pipeline:
    """The graph of the demo."""
    return create_pipeline(config, 'fingerprint', setup_file='/opt/cxr-triage/setup.py')


@pytest.fixture(scope='session')
def compiled(pipeline: Pipeline, config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The specification of the demo."""
    path = tmp_path_factory.mktemp('spec') / 'demo.yaml'
    spec.compile_spec(pipeline, config.kubeflow, str(path))
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope='session')
def captured() -> dict[str, dict]:
    """The executor inputs from the driver of Kubeflow Pipelines 2.17.0, by component.

    The test is skipped if the files are missing.
    """
    if not _CAPTURED.is_dir():
        pytest.skip(f'captured executor inputs are not at {_CAPTURED}')
    return {
        path.stem: json.loads(path.read_text())['executor_input']
        for path in sorted(_CAPTURED.glob('*.json'))
    }


@pytest.fixture(scope='session')
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that represents a mounted volume, with data and the demo compiled for them."""
    root = tmp_path_factory.mktemp('volume')
    write_dataset(root / 'data', count=10, seed=1, size=64)
    assert (
        cli.main(
            [
                'compile',
                *submitting.options(root),
                '--image',
                'registry/cxr-triage:1',
                '--out',
                str(root / 'demo.yaml'),
            ]
        )
        == 0
    )
    return root


@pytest.fixture
def empty_volume(volume: Path) -> Path:
    """The volume with nothing served."""
    shutil.rmtree(volume / 'served', ignore_errors=True)
    (volume / 'served').mkdir()
    return volume


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiDouble]:
    """A double of the API server; `submit` and `status` poll it without a pause."""
    monkeypatch.setattr(remote_display, 'INTERVAL_S', 0.0)
    monkeypatch.delenv('KF_PIPELINES_ENDPOINT', raising=False)
    # kfp stores a namespace under HOME.
    monkeypatch.setattr('kfp.Client._LOCAL_KFP_CONTEXT', '/nowhere/context.json')
    with api_double.serve() as double:
        yield double


@pytest.fixture
def submit(empty_volume: Path, server: ApiDouble) -> Cli:
    """Submits the demo; the options of a call come last, so they override the others."""

    def run(*options: str, spec: Path | None = None) -> int:
        return cli.main(
            [
                'submit',
                str(spec or empty_volume / 'demo.yaml'),
                *submitting.options(empty_volume),
                '--host',
                server.url,
                *options,
            ]
        )

    return run
