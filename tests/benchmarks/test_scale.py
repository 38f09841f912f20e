"""What the benchmark of scale measures with: films, processes, growth."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import films, scale
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
def test_films_are_of_real_size_and_no_two_alike(tmp_path: Path) -> None:
    for name in ('one', 'again'):
        films.write(tmp_path / name, _COUNT, drawn=_DRAWN)
    found = _records(tmp_path / 'one')
    assert len(found) == _COUNT
    images = [Image.open(io.BytesIO(record.image)) for record in found]
    assert {(image.format, image.mode, image.size) for image in images} == {
        ('JPEG', 'L', (600, 600))
    }
    assert len({image.tobytes() for image in images}) == _COUNT
    # 7.5 GB of 112,120 real ones are 67 kB each.
    assert np.mean([len(record.image) for record in found]) == pytest.approx(67_000, rel=0.15)
    assert [record.image for record in found] == [
        record.image for record in _records(tmp_path / 'again')
    ]
    assert not list((tmp_path / 'one').glob('*.npy'))


def test_peak_memory_is_that_of_the_largest_process(tmp_path: Path) -> None:
    child = 'import time; held = bytearray(1) * 300_000_000; time.sleep(1)'
    parent = (
        'import subprocess, sys; sys.exit(subprocess.run([sys.executable, "-c", '
        f'"{child}"]).returncode + 3)'
    )
    taken = watch([sys.executable, '-c', parent], tmp_path / 'log')
    assert taken.exit_code == 3
    assert 300e6 < taken.peak_bytes < 500e6
    assert taken.seconds > 1
    start, end = taken.resident[0][0], taken.resident[-1][0]
    assert 300e6 < taken.peak_between(start, end) <= taken.peak_bytes
    assert taken.peak_between(end + 1, end + 2) == 0


@pytest.mark.parametrize(
    ('values', 'exponent'), [((5.0, 20.0), 1.0), ((7.0, 7.0), 0.0), ((1.0, 16.0), 2.0)]
)
def test_growth(values: tuple[float, float], exponent: float) -> None:
    assert scale.growth([{'films': 1_000}, {'films': 4_000}], values) == pytest.approx(exponent)
