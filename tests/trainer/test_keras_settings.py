"""The user's Keras settings do not affect a model."""

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

_USER_SETTINGS = {
    'KERAS_BACKEND': 'torch',
    'KERAS_HOME': '/somewhere',
    'KERAS_MAX_EPOCHS': '1',
    'KERASTUNER_TUNER_ID': 'chief',
    'TF_USE_LEGACY_KERAS': '0',
}
_PRINT_SETTINGS = """
from trainer import keras_settings
keras_settings.apply()
import keras, tf_keras
print(keras.config.backend())
for package in (keras.config, tf_keras.backend):
    print(package.floatx(), package.epsilon(), package.image_data_format())
"""


@pytest.fixture
def user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _USER_SETTINGS.items():
        monkeypatch.setenv(name, value)


def _keras_variables() -> dict[str, str]:
    """The environment variables of Keras in this process."""
    return {name: value for name, value in os.environ.items() if 'KERAS' in name}


def test_a_command_starts_with_the_settings(user_settings: None) -> None:
    assert cli.main(['run', '--config', 'none.yaml']) == 1
    assert _keras_variables() == keras_settings.SETTINGS


def test_a_pod_starts_with_the_settings(
    user_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'argv', ['entrypoint'])
    with pytest.raises(SystemExit, match='is missing'):
        entrypoint.main()
    assert _keras_variables() == keras_settings.SETTINGS


def test_containers_with_other_entry_points_start_with_the_settings() -> None:
    """Vertex AI and Beam's workers start programs of TFX and Beam."""
    dockerfile = (Path(__file__).parents[2] / 'kubeflow' / 'Dockerfile').read_text()
    assert dict(re.findall(r'\b(KERAS_\w+)=(\S+)', dockerfile)) == keras_settings.SETTINGS


def test_neither_variables_nor_a_file_change_keras(tmp_path: Path) -> None:
    """Runs in a subprocess: Keras reads its settings on import."""
    (tmp_path / '.keras').mkdir()
    settings = {
        'backend': 'jax',
        'floatx': 'float16',
        'epsilon': 0.1,
        'image_data_format': 'channels_first',
    }
    (tmp_path / '.keras' / 'keras.json').write_text(json.dumps(settings))
    env = {**os.environ, **_USER_SETTINGS, 'HOME': str(tmp_path)}
    process = subprocess.run(
        [sys.executable, '-c', _PRINT_SETTINGS],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stdout.splitlines() == ['tensorflow', *['float32 1e-07 channels_last'] * 2], (
        process.stderr
    )
