"""A run rejects unusable weights before it imports TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import weights
from pipeline.config import ConfigError
from trainer.parameters import PRETRAINED, ModelParameters

_MOBILENET = 2_257_984
Write = Callable[[Path], object]


def _layers(count: int, group: str = '', names: bool = True) -> Write:
    """Returns a function that writes `count` numbers in the layout of Keras 2, as a sparse file."""

    def write(path: Path) -> None:
        with h5py.File(path, 'w') as file:
            layers = file.require_group(group) if group else file
            if names:
                layers.attrs['layer_names'] = [b'conv', b'bn']
            layers.create_dataset('conv/conv/kernel:0', (count - 32,), np.float32)
            layers.create_dataset('bn/bn/gamma:0', (4, 8), np.float32)
            if group:
                file.create_dataset('optimizer_weights/iterations', (7,), np.float32)

    return write


def _keras3_layout(path: Path) -> None:
    with h5py.File(path, 'w') as file:
        file.create_dataset('layers/conv/vars/0', (_MOBILENET,), np.float32)


def _truncated(path: Path) -> None:
    with h5py.File(path, 'w') as file:
        file['conv'] = np.zeros(10_000)
    path.write_bytes(path.read_bytes()[:5_000])


@pytest.mark.parametrize(
    ('name', 'write', 'message'),
    [
        pytest.param('w.h5', lambda path: None, 'no such file', id='missing'),
        pytest.param('w.h5', lambda path: path.mkdir(), 'not a regular file', id='a directory'),
        pytest.param(
            'w.weights',
            _layers(_MOBILENET),
            'has to end in .h5 or .hdf5 or .keras',
            id='a name without format',
        ),
        pytest.param(
            'w.h5', lambda path: path.write_bytes(b''), 'not a readable HDF5 file', id='empty'
        ),
        pytest.param(
            'w.h5',
            lambda path: path.write_text('<html>'),
            'not a readable HDF5 file',
            id='a web page',
        ),
        pytest.param('w.hdf5', _truncated, 'not a readable HDF5 file', id='truncated'),
        pytest.param(
            'w.keras',
            lambda path: path.write_text('no'),
            'not a readable HDF5 file',
            id='not an archive',
        ),
        pytest.param(
            'w.h5',
            _layers(_MOBILENET, names=False),
            'not one with the weights of a Keras model',
            id='another HDF5 file',
        ),
        pytest.param(
            'w.weights.h5',
            _layers(_MOBILENET),
            'rename it to .h5',
            id='Keras 2 layout with a Keras 3 name',
        ),
        pytest.param(
            'w.h5',
            _layers(3_538_984),
            'not the weights of mobilenet_v2 without its top: 3,538,984',
            id='with its top',
        ),
    ],
)
def test_unusable_weights_are_rejected(
    name: str, write: Write, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(ConfigError) as caught:
        weights.check(ModelParameters(weights=str(path)))
    text = str(caught.value)
    assert text.startswith(f'{path}: ')
    assert message in text
    assert (
        'Give ImageNet weights of mobilenet_v2 without the top with --weights, or as model.weights.'
        in text
    )


@pytest.mark.parametrize(
    ('name', 'write'),
    [
        pytest.param('w.h5', _layers(_MOBILENET), id='weights'),
        pytest.param('w.h5', _layers(_MOBILENET, 'model_weights'), id='a whole model'),
        pytest.param('w.weights.h5', _keras3_layout, id='Keras 3 layout'),
    ],
)
def test_suitable_weights_are_accepted(name: str, write: Write, tmp_path: Path) -> None:
    write(tmp_path / name)
    weights.check(ModelParameters(weights=str(tmp_path / name)))


def test_every_pretrained_backbone_is_known() -> None:
    assert set(weights._PRETRAINED) == set(PRETRAINED)


def test_weights_in_the_keras_cache_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    for scheme in ('http', 'https'):
        monkeypatch.setenv(f'{scheme}_proxy', 'http://127.0.0.1:9')
    cached = (
        tmp_path
        / '.keras'
        / 'models'
        / 'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5'
    )
    with pytest.raises(
        ConfigError, match='no ImageNet weights for mobilenet_v2: none are configured'
    ) as caught:
        weights.check(ModelParameters(image_size=96))
    assert str(cached) in str(caught.value)
    cached.parent.mkdir(parents=True)
    cached.touch()
    weights.check(ModelParameters(image_size=96))
    weights.check(ModelParameters(backbone='scratch_cnn'))


def test_a_run_is_rejected_before_tensorflow_is_imported(tmp_path: Path) -> None:
    code = (
        'import sys; from cli.main import main\n'
        'code = main(sys.argv[1:])\n'
        'assert not {"tensorflow", "tfx", "keras"} & set(sys.modules)\n'
        'sys.exit(code)'
    )
    (tmp_path / 'w.h5').write_text('<html>')
    options = [
        '--config',
        'pipeline/configs/nih_triage.yaml',
        '--data-root',
        tmp_path,
        '--root',
        tmp_path / 'root',
    ]
    command = [sys.executable, '-c', code, 'run', *options, '--weights', tmp_path / 'w.h5']
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith(
        f'cxr-triage run: {tmp_path / "w.h5"}: not a readable HDF5 file'
    )
    assert not (tmp_path / 'root').exists()
