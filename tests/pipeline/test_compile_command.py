"""`cxr-triage compile` writes a specification for Kubeflow, or reports all errors at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tensorflow as tf
import yaml

from cli import main as cli
from records.synth import write_dataset


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that represents a mounted volume, with a small data set."""
    root = tmp_path_factory.mktemp('volume')
    write_dataset(root / 'data', count=10, seed=1, size=64)
    return root


def _compile(data: Path, out: Path, *options: str) -> int:
    volumes = f'[{{claim: images, mount: {data}}}]'
    command = [
        'compile',
        '--config',
        'pipeline/configs/demo.yaml',
        '--out',
        str(out),
        '--data-root',
        str(data / 'data'),
    ]
    command += [
        '--root',
        'gs://bucket/runs',
        '--push-dir',
        str(data / 'served'),
        '--image',
        'registry/cxr-triage:1',
    ]
    return cli.main([*command, '--set', f'kubeflow.volumes={volumes}', *options])


def test_the_file_contains_pipeline_and_platform(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'demo.yaml'
    assert _compile(data, out) == 0
    spec, platform = yaml.safe_load_all(out.read_text())
    assert spec['pipelineInfo']['name'] == 'demo'
    assert re.fullmatch(
        r'\d+-files-\d+-bytes-[0-9a-f]{64}',
        spec['root']['inputDefinitions']['parameters']['fingerprint']['defaultValue'],
    )
    assert 'kubernetes' in platform['platforms']
    output = capsys.readouterr().out
    assert '12 steps for kubeflow, image registry/cxr-triage:1' in output
    assert 'gs://bucket/runs' in output


def test_data_only_pods_can_read_need_a_fingerprint(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'demo.yaml'
    assert _compile(data, out, '--data-root', str(data / 'missing')) == 1
    assert '--fingerprint' in capsys.readouterr().err
    assert not out.exists()
    bucket = ('--data-root', 'gs://bucket/nih')
    assert _compile(data, out, *bucket, '--fingerprint', 'release-2') == 0
    spec, *_ = yaml.safe_load_all(out.read_text())
    assert (
        spec['root']['inputDefinitions']['parameters']['fingerprint']['defaultValue'] == 'release-2'
    )


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every access to a bucket fails as without a network."""

    def fail(path: str):
        raise tf.errors.FailedPreconditionError(
            None, None, f"Couldn't resolve host name\n\t when reading metadata of {path}"
        )

    for name in ('stat', 'exists', 'listdir'):
        monkeypatch.setattr(tf.io.gfile, name, fail)
    monkeypatch.setattr(tf.io.gfile, 'isdir', lambda path: False)


@pytest.mark.parametrize(
    'option',
    [('--data-root', 'gs://bucket/nih'), ('--push-dir', 'gs://bucket/served')],
    ids=lambda option: option[0],
)
def test_an_unreadable_bucket_is_reported(
    option: tuple[str, str], no_network: None, data: Path, tmp_path: Path, capsys
) -> None:
    assert _compile(data, tmp_path / 'demo.yaml', *option) == 1
    text = capsys.readouterr().err
    assert (
        f"a bucket cannot be read: Couldn't resolve host name when reading metadata of {option[1]}"
        in text
    )
    assert '--fingerprint' in text


def test_a_fingerprint_avoids_reading_buckets(
    no_network: None, data: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / 'demo.yaml'
    buckets = (
        '--data-root',
        'gs://bucket/nih',
        '--push-dir',
        'gs://bucket/served',
        '--weights',
        'gs://bucket/weights.h5',
    )
    settings = ('--set', 'model.backbone=mobilenet_v2', '--set', 'tuning.trials=1')
    assert _compile(data, out, *buckets, *settings, '--fingerprint', 'release-2') == 0
    spec, *_ = yaml.safe_load_all(out.read_text())
    parameters = spec['root']['inputDefinitions']['parameters']
    assert json.loads(parameters['training']['defaultValue'])['weights_digest'] == 'release-2'
    assert parameters['baseline-version']['defaultValue'] == ''
    assert 'gs://bucket/served was not read, because of --fingerprint' in capsys.readouterr().out


def test_missing_weights_are_reported(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'demo.yaml'
    weights = ('--set', 'model.backbone=mobilenet_v2', '--weights', str(data / 'none.h5'))
    assert _compile(data, out, *weights) == 1
    text = capsys.readouterr().err
    assert f'{data / "none.h5"}: no such file' in text
    assert '--fingerprint' in text
    assert not out.exists()
    # The weights can be on a volume that only pods can read.
    assert _compile(data, out, *weights, '--fingerprint', 'release-2') == 0


def test_all_unreachable_paths_are_reported_at_once(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'demo.yaml'
    assert (
        _compile(
            data, out, '--root', '/runs', '--push-dir', '/srv/models', '--data-root', '/home/data'
        )
        == 1
    )
    message = capsys.readouterr().err
    for path in (
        '/runs: Kubeflow cannot write to this pipeline root',
        '/srv/models: pods cannot push there',
        'data.root is /home/data: pods cannot read it',
    ):
        assert path in message
    assert not out.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--out', 'spec.json'), 'ends in .yaml'),
        (('--set', 'kubeflow.steps={Training: {cpu: 4}}'), 'names Training: no such step'),
        (
            ('--set', 'kubeflow.steps={Trainer: {gpus: 4}}'),
            "unknown key 'kubeflow.steps.Trainer.gpus'",
        ),
        (('--image', ' '), 'is not the name of an image'),
        (('--beam', 'flink'), 'beam.engine is flink: give beam.flink.job_server'),
        (
            (
                '--beam',
                'flink',
                '--set',
                'beam.flink.job_server=flink:8099',
                '--root',
                's3://bucket/runs',
            ),
            'beam.engine is flink, whose workers read and write artifacts directly: give '
            'gs://BUCKET/FOLDER with --root',
        ),
    ],
)
def test_other_invalid_options_are_reported(
    data: Path, tmp_path: Path, capsys, options: tuple[str, ...], message: str
) -> None:
    assert _compile(data, tmp_path / 'demo.yaml', *options) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
