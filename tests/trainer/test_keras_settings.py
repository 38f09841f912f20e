"""No Keras setting of the user reaches a model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as cli
from pipeline.kubeflow import entrypoint
from trainer import keras_settings

_OF_A_USER = {
    'KERAS_BACKEND': 'torch',
    'KERAS_HOME': '/somewhere',
    'KERAS_MAX_EPOCHS': '1',
    'KERASTUNER_TUNER_ID': 'chief',
    'TF_USE_LEGACY_KERAS': '0',
}
_SHOW = """
from trainer import keras_settings
keras_settings.apply()
import keras, tf_keras
print(keras.config.backend())
for package in (keras.config, tf_keras.backend):
    print(package.floatx(), package.epsilon(), package.image_data_format())
"""


@pytest.fixture
def of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _OF_A_USER.items():
        monkeypatch.setenv(name, value)


def _keras() -> dict[str, str]:
    """The variables of this process that Keras obeys."""
    return {name: value for name, value in os.environ.items() if 'KERAS' in name}


def test_a_command_starts_with_the_settings(of_a_user: None) -> None:
    assert cli.main(['run', '--config', 'none.yaml']) == 1
    assert _keras() == keras_settings.SETTINGS


def test_a_pod_starts_with_the_settings(of_a_user: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['entrypoint'])
    with pytest.raises(SystemExit, match='is missing'):
        entrypoint.main()
    assert _keras() == keras_settings.SETTINGS


def test_containers_of_others_entry_points_start_with_the_settings() -> None:
    """Vertex AI and Beam's workers start TFX's and Beam's own programs."""
    dockerfile = (Path(__file__).parents[2] / 'kubeflow' / 'Dockerfile').read_text()
    assert dict(re.findall(r'\b(KERAS_\w+)=(\S+)', dockerfile)) == keras_settings.SETTINGS


def test_neither_variables_nor_a_file_change_keras(tmp_path: Path) -> None:
    """In a process of its own: Keras reads its settings when it is imported."""
    (tmp_path / '.keras').mkdir()
    settings = {
        'backend': 'jax',
        'floatx': 'float16',
        'epsilon': 0.1,
        'image_data_format': 'channels_first',
    }
    (tmp_path / '.keras' / 'keras.json').write_text(json.dumps(settings))
    env = {**os.environ, **_OF_A_USER, 'HOME': str(tmp_path)}
    done = subprocess.run(
        [sys.executable, '-c', _SHOW], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ['tensorflow', *['float32 1e-07 channels_last'] * 2], (
        done.stderr
    )
