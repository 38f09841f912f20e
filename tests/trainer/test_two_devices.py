"""Both phases of training run on two devices with MirroredStrategy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from tests.support import synthetic_images


@pytest.mark.slow
def test_both_phases_run_on_two_devices(tmp_path: Path) -> None:
    for seed, (name, size) in enumerate({'train': 48, 'val': 30, 'calibration': 30}.items()):
        synthetic_images.split(tmp_path / 'data' / f'Split-{name}', size, seed)
    weights = tmp_path / 'weights.h5'
    keras.applications.MobileNetV2(
        input_shape=(synthetic_images.SIDE, synthetic_images.SIDE, 3),
        include_top=False,
        weights=None,
    ).save_weights(str(weights))
    arguments = [str(tmp_path / 'data'), str(tmp_path), str(weights)]
    process = subprocess.run(
        [sys.executable, '-m', 'tests.support.two_devices', *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    result = json.loads(process.stdout.splitlines()[-1])
    assert (result['devices'], result['epoch']) == (2, 1)
    assert len(result['logits']) == 30 and np.isfinite(result['logits']).all()
