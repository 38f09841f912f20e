"""The CronJob in kubeflow/manifests/ that submits the pipeline on a schedule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cli import main as cli
from tests.support.kfp_api_double import ApiDouble

_ROOT = Path(__file__).resolve().parents[3]
_MANIFESTS = _ROOT / 'kubeflow/manifests'


def _cron_job_command() -> list[str]:
    """Returns the command of the CronJob, with the values of the GKE overlay's config map."""
    values: dict[str, str] = {}
    for folder in ('base/recurring-run', 'overlays/gke'):
        generated = yaml.safe_load((_MANIFESTS / folder / 'kustomization.yaml').read_text())[
            'configMapGenerator'
        ]
        literals = [
            literal
            for config_map in generated
            if config_map['name'] == 'cxr-triage-recurring-run'
            for literal in config_map['literals']
        ]
        values |= dict(literal.split('=', 1) for literal in literals)
    job = yaml.safe_load((_MANIFESTS / 'base/recurring-run/cronjob.yaml').read_text())
    (container,) = job['spec']['jobTemplate']['spec']['template']['spec']['containers']
    sources = {
        variable['name']: variable['valueFrom']['configMapKeyRef']['key']
        for variable in container['env']
        if 'valueFrom' in variable
    }
    return [
        re.sub(r'\$\((\w+)\)', lambda name: values[sources[name[1]]], argument)
        for argument in container['args']
    ]


@pytest.mark.parametrize(
    ('file', 'bucket'), [('serving-on-kubernetes.md', 'BUCKET'), ('gke.md', '$BUCKET')]
)
def test_cron_job_uses_the_options_of_the_documented_compile_command(
    file: str, bucket: str
) -> None:
    text = (_ROOT / 'docs' / file).read_text()
    documented = dict(re.findall(r'--(data-root|weights|root|push-dir) (gs://[^\s"]+)', text))
    options = dict(
        argument[2:].split('=', 1) for argument in _cron_job_command() if argument.startswith('--')
    )
    assert documented == {key: options[key].replace('your-bucket', bucket) for key in documented}
    assert len(documented) == 4
    # TF Serving reads the push directory.
    assert (
        f'base_path: "{options["push-dir"]}"'
        in (_MANIFESTS / 'overlays/gke/models.config').read_text()
    )


def test_the_cron_job_submits_a_run(
    empty_volume: Path, server: ApiDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Only the specification has the GPU image, as in the documentation.
    config = yaml.safe_load(Path('pipeline/configs/demo.yaml').read_text())
    config['kubeflow'] = {
        'volumes': [{'claim': 'images', 'mount': str(empty_volume)}],
        'steps': {'Trainer': {'accelerator': 'nvidia.com/gpu'}},
    }
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(config))
    folders = {
        '/etc/cxr-triage': tmp_path,
        'gs://your-bucket/nih': empty_volume / 'data',
        'gs://your-bucket/serving': empty_volume / 'served',
    }
    # The demo has no weights.
    command = [item for item in _cron_job_command() if not item.startswith('--weights')]
    for path, folder in folders.items():
        command = [item.replace(path, str(folder)) for item in command]
    experiment = [
        item
        for item in command
        if item.startswith(('--config', '--data-root', '--root', '--push-dir'))
    ]
    images = [
        '--image',
        'registry/cxr-triage:1',
        '--set',
        'kubeflow.gpu_image=registry/cxr-triage:1-gpu',
    ]
    assert cli.main(['compile', *experiment, *images, '--out', str(tmp_path / 'spec.yaml')]) == 0
    command = [f'--host={server.url}' if item.startswith('--host') else item for item in command]
    assert cli.main(command) == 0, capsys.readouterr().err
    (run,) = server.runs.values()
    assert run.root == 'gs://your-bucket/runs'
    assert list(server.experiments.values()) == ['nih-triage']
