"""The CronJob under kubeflow/manifests/ that submits the pipeline again and again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cli import main as cli
from tests.support.kfp_api_double import ApiDouble

_ROOT = Path(__file__).resolve().parents[3]
_MANIFESTS = _ROOT / 'kubeflow/manifests'


def _cron_job_words() -> list[str]:
    """The command of the recurring run, with what the config map of the GKE overlay says in it."""
    values: dict[str, str] = {}
    for folder in ('base/recurring-run', 'overlays/gke'):
        generated = yaml.safe_load((_MANIFESTS / folder / 'kustomization.yaml').read_text())[
            'configMapGenerator'
        ]
        literals = [
            literal
            for each in generated
            if each['name'] == 'cxr-triage-recurring-run'
            for literal in each['literals']
        ]
        values |= dict(literal.split('=', 1) for literal in literals)
    job = yaml.safe_load((_MANIFESTS / 'base/recurring-run/cronjob.yaml').read_text())
    (container,) = job['spec']['jobTemplate']['spec']['template']['spec']['containers']
    sources = {
        each['name']: each['valueFrom']['configMapKeyRef']['key']
        for each in container['env']
        if 'valueFrom' in each
    }
    return [
        re.sub(r'\$\((\w+)\)', lambda name: values[sources[name[1]]], word)
        for word in container['args']
    ]


@pytest.mark.parametrize(
    ('file', 'bucket'), [('serving-on-kubernetes.md', 'BUCKET'), ('gke.md', '$BUCKET')]
)
def test_cron_job_uses_the_options_of_the_documented_compile_command(
    file: str, bucket: str
) -> None:
    text = (_ROOT / 'docs' / file).read_text()
    documented = dict(re.findall(r'--(data-root|weights|root|push-dir) (gs://[^\s"]+)', text))
    options = dict(word[2:].split('=', 1) for word in _cron_job_words() if word.startswith('--'))
    assert documented == {key: options[key].replace('your-bucket', bucket) for key in documented}
    assert len(documented) == 4
    # And TF Serving reads where it pushes.
    assert (
        f'base_path: "{options["push-dir"]}"'
        in (_MANIFESTS / 'overlays/gke/models.config').read_text()
    )


def test_the_cron_job_submits(
    here: Path, server: ApiDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The GPU's image is in the specification alone, as the documentation compiles it.
    config = yaml.safe_load(Path('pipeline/configs/demo.yaml').read_text())
    config['kubeflow'] = {
        'volumes': [{'claim': 'films', 'mount': str(here)}],
        'steps': {'Trainer': {'accelerator': 'nvidia.com/gpu'}},
    }
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(config))
    places = {
        '/etc/cxr-triage': tmp_path,
        'gs://your-bucket/nih': here / 'films',
        'gs://your-bucket/serving': here / 'served',
    }
    words = [
        word for word in _cron_job_words() if not word.startswith('--weights')
    ]  # the demo has none
    for place, folder in places.items():
        words = [word.replace(place, str(folder)) for word in words]
    experiment = [
        word
        for word in words
        if word.startswith(('--config', '--data-root', '--root', '--push-dir'))
    ]
    images = [
        '--image',
        'registry/cxr-triage:1',
        '--set',
        'kubeflow.gpu_image=registry/cxr-triage:1-gpu',
    ]
    assert cli.main(['compile', *experiment, *images, '--out', str(tmp_path / 'spec.yaml')]) == 0
    assert (
        cli.main([f'--host={server.url}' if word.startswith('--host') else word for word in words])
        == 0
    ), capsys.readouterr().err
    (run,) = server.runs.values()
    assert run.root == 'gs://your-bucket/runs'
    assert list(server.experiments.values()) == ['nih-triage']
