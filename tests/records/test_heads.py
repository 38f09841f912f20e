"""The beginnings of damaged DICOM files: each is a failure of that file alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from records.convert import heads
from tests.support import gateways


def test_a_damaged_header_is_a_failure_of_its_file(tmp_path: Path) -> None:
    content = gateways.dicom(np.zeros((64, 64), np.uint8))
    names = []
    for position in range(128, 900, 3):
        for value in (0, 0xFF):
            damaged = bytearray(content)
            damaged[position] = value
            names.append(f'{position}-{value}.dcm')
            (tmp_path / names[-1]).write_bytes(damaged)
    (tmp_path / 'whole.dcm').write_bytes(content)
    read = list(heads.read(tmp_path, [*names, 'whole.dcm'], 1))
    reasons = [head.failure.reason for head in read if head.failure]
    assert len(read) == len(names) + 1
    assert 'the DICOM header cannot be read' in reasons
    assert read[-1].failure is None and read[-1].said is not None
