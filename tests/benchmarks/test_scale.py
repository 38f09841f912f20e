"""The parts of the scale benchmark: images, processes and growth."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import images, scale
from benchmarks.processes import watch
from records import examples, tfrecord

_COUNT, _DRAWN = 30, 24  # both views, normal and abnormal ones, are among these


def _records(root: Path) -> list[examples.XrayRecord]:
    return [
        examples.parse(record.payload)
        for path in sorted(root.glob('data/*.tfrec'))
        for record in tfrecord.read(str(path))
    ]


@pytest.mark.slow
def test_images_have_real_size_and_are_all_different(tmp_path: Path) -> None:
    for name in ('first', 'second'):
        images.write(tmp_path / name, _COUNT, drawn=_DRAWN)
    records = _records(tmp_path / 'first')
    assert len(records) == _COUNT
    decoded = [Image.open(io.BytesIO(record.image)) for record in records]
    assert {(image.format, image.mode, image.size) for image in decoded} == {
        ('JPEG', 'L', (600, 600))
    }
    assert len({image.tobytes() for image in decoded}) == _COUNT
    # 112,120 real images have 7.5 GB, which is 67 kB each.
    assert np.mean([len(record.image) for record in records]) == pytest.approx(67_000, rel=0.15)
    assert [record.image for record in records] == [
        record.image for record in _records(tmp_path / 'second')
    ]
    assert not list((tmp_path / 'first').glob('*.npy'))


def test_peak_memory_is_of_the_largest_process(tmp_path: Path) -> None:
    child = 'import time; data = bytearray(1) * 300_000_000; time.sleep(1)'
    parent = (
        'import subprocess, sys; sys.exit(subprocess.run([sys.executable, "-c", '
        f'"{child}"]).returncode + 3)'
    )
    usage = watch([sys.executable, '-c', parent], tmp_path / 'log')
    assert usage.exit_code == 3
    assert 300e6 < usage.peak_bytes < 500e6
    assert usage.seconds > 1
    start, end = usage.resident[0][0], usage.resident[-1][0]
    assert 300e6 < usage.peak_between(start, end) <= usage.peak_bytes
    assert usage.peak_between(end + 1, end + 2) == 0


@pytest.mark.parametrize(
    ('values', 'exponent'), [((5.0, 20.0), 1.0), ((7.0, 7.0), 0.0), ((1.0, 16.0), 2.0)]
)
def test_growth_is_the_exponent(values: tuple[float, float], exponent: float) -> None:
    assert scale.growth([{'films': 1_000}, {'films': 4_000}], values) == pytest.approx(exponent)
