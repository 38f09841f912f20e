"""Checks that an experiment's ImageNet weights exist and fit its backbone.

Does not import TensorFlow.
"""

from __future__ import annotations

import math
import os
import urllib.request
import zipfile
from dataclasses import dataclass

import storage
from pipeline.config import ConfigError
from trainer.parameters import ModelParameters

_URL = 'https://storage.googleapis.com/tensorflow/keras-applications/'
_TIMEOUT_S = 5.0
_SUFFIXES = ('.h5', '.hdf5', '.keras')
# MobileNetV2 has weights for these sides. For other sides Keras uses those for 224 pixels.
_MOBILENET_SIDES = (96, 128, 160, 192, 224)


@dataclass(frozen=True)
class _Pretrained:
    """The ImageNet weights of a backbone at Keras, with their number without the top."""

    folder: str
    file: str
    parameters: int


_PRETRAINED = {
    'mobilenet_v2': _Pretrained(
        'mobilenet_v2',
        'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5',
        2_257_984,
    ),
    'xception': _Pretrained(
        'xception', 'xception_weights_tf_dim_ordering_tf_kernels_notop.h5', 20_861_480
    ),
    'vgg16': _Pretrained('vgg16', 'vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5', 14_714_688),
    'densenet121': _Pretrained(
        'densenet', 'densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5', 7_037_504
    ),
    'efficientnet_v2_b0': _Pretrained('efficientnet_v2', 'efficientnetv2-b0_notop.h5', 5_919_312),
}


def check(parameters: ModelParameters) -> None:
    """Looks for the weights where the trainer does.

    That is the configured path, then Keras's cache, then Google's server. For a remote path
    (gs://…), `execute.check_weights` does the check, because it needs TensorFlow.

    Raises:
      ConfigError: the weights are missing, cannot be read, or belong to another backbone.
    """
    pretrained = _PRETRAINED.get(parameters.backbone)
    if pretrained is None:
        return
    if parameters.weights:
        if not storage.is_remote(parameters.weights):
            _check_file(parameters.weights, parameters.backbone, pretrained.parameters)
        return
    side = parameters.image_size if parameters.image_size in _MOBILENET_SIDES else 224
    name = pretrained.file.format(side=side)
    cached = os.path.join(os.path.expanduser('~'), '.keras', 'models', name)
    if not os.path.exists(cached):
        _check_download(f'{_URL}{pretrained.folder}/{name}', parameters.backbone, cached)


def advice(backbone: str) -> str:
    """A sentence for messages: which file to give as weights."""
    return (
        f'Give ImageNet weights of {backbone} without the top with --weights, or as model.weights.'
    )


def _check_file(path: str, backbone: str, expected: int) -> None:
    hint = advice(backbone)
    if not os.path.exists(path):
        raise ConfigError(f'{path}: no such file. {hint}')
    if not os.path.isfile(path):
        raise ConfigError(f'{path}: not a regular file. {hint}')
    if not path.endswith(_SUFFIXES):
        raise ConfigError(
            f'{path}: the name has to end in {" or ".join(_SUFFIXES)}, which tells Keras the '
            f'format. {hint}'
        )
    if path.endswith('.keras') and zipfile.is_zipfile(path):
        return
    try:
        count = _count(path)
    except _LayoutError as error:
        raise ConfigError(f'{path}: {error}. {hint}') from None
    except PermissionError:
        raise ConfigError(f'{path}: permission denied. {hint}') from None
    except (OSError, RuntimeError, KeyError, ValueError, AttributeError) as error:
        # h5py raises any of these for a damaged file.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f'{path}: not a readable HDF5 file; it is damaged or truncated ({reason}). {hint}'
        ) from None
    if count != expected:
        raise ConfigError(
            f'{path}: not the weights of {backbone} without its top: {count:,} numbers, expected '
            f'{expected:,}. {hint}'
        )


class _LayoutError(ValueError):
    """An HDF5 file that Keras cannot read as weights."""


def _count(path: str) -> int:
    """The count of numbers in the layers of a weights file.

    Raises:
      _LayoutError: the layout is not the one that Keras expects for a file of this name.
    """
    import h5py

    with h5py.File(path, 'r') as file:
        group = file.get('model_weights', file)
        if path.endswith('.weights.h5'):
            if not {'_layer_checkpoint_dependencies', 'layers'} & set(file):
                raise _LayoutError(
                    'the ending .weights.h5 means another layout than that of this file; '
                    'rename it to .h5'
                )
        elif 'layer_names' not in group.attrs:
            raise _LayoutError('an HDF5 file, but not one with the weights of a Keras model')
        sizes: list[int] = []

        def add(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith('optimizer'):
                sizes.append(math.prod(item.shape))

        group.visititems(add)
        return sum(sizes)


def _check_download(url: str, backbone: str, cached: str) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=_TIMEOUT_S):
            return
    except (OSError, ValueError) as error:
        reason = getattr(error, 'reason', None) or error
    raise ConfigError(
        f'no ImageNet weights for {backbone}: none are configured, there is no {cached}, and '
        f'{url} cannot be reached ({reason}). '
        f'{advice(backbone)}'
    )
