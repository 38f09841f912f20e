"""Small data roots in the NIH layout and XrayExampleGen run on them, for its tests."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from PIL import Image
from tensorflow.core.example import example_pb2
from tfx.types import standard_artifacts

from components.xray_example_gen.artifact import IngestReport, Quarantine
from components.xray_example_gen.executor import Executor
from records import tfrecord
from records.examples import build
from records.layout import TABLE, TABLE_COLUMNS
from schemas.features import SPLITS
from schemas.labels import ABNORMAL, FINDINGS, NO_FINDING

FRACTIONS = {'train': 0.4, 'val': 0.2, 'calibration': 0.2, 'test': 0.2}
PATIENTS = 60


def image(seed: int = 0, side: int = 72, kind: str = 'JPEG', mode: str = 'L') -> bytes:
    """A small encoded image of noise, which depends on the seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def image_id(patient: int, study: int = 0) -> str:
    """An image id of the NIH form."""
    return f'{patient:08d}_{study:03d}.png'


def labels(patient: int) -> dict[str, int]:
    """Labels of a patient. Patients with an even number have a finding."""
    return {NO_FINDING: 1} if patient % 2 else {FINDINGS[patient // 2 % len(FINDINGS)]: 1}


def record(patient: int, study: int = 0) -> bytes:
    """A valid record."""
    return build(image(patient * 10 + study), image_id(patient, study), labels(patient))


def write_file(path: Path, payloads: Iterable[bytes], zipped: bool = False) -> Path:
    """Writes a record file."""
    data = b''.join(map(tfrecord.frame, payloads))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def write_table(root: Path, rows: Mapping[str, tuple[str, str, str]]) -> None:
    """Writes the metadata table from image id -> (age, sex, view position)."""
    lines = [','.join(TABLE_COLUMNS)]
    for name, (age, sex, view) in rows.items():
        lines.append(f'{name},No Finding,3,{int(name[:8])},{age},{sex},{view},600,600,0.1,0.1')
    path = root / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress('\n'.join(lines).encode(), mtime=0))


def write_root(
    root: Path, first: int = 1, patients: int = PATIENTS, files: int = 3, folder: str = 'data'
) -> Path:
    """Writes valid records to `files` files. Patients with an even number have two images."""
    records = [
        record(patient, study)
        for patient in range(first, first + patients)
        for study in range(2 - patient % 2)
    ]
    for number in range(files):
        part = records[number::files]
        write_file(root / folder / f'{number:03d}-{len(part)}.tfrec', part)
    return root


@dataclass(frozen=True)
class Ingested:
    """The output of XrayExampleGen."""

    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        """`ingest.json`."""
        return json.loads((self.folder / 'report' / 'ingest.json').read_text())

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        """The rows of `quarantine.jsonl`."""
        return [
            json.loads(line)
            for line in (self.folder / 'quarantine' / 'quarantine.jsonl').read_text().splitlines()
        ]

    def payloads(self, split: str) -> list[bytes]:
        """The serialized examples of a split."""
        payloads = []
        for path in sorted((self.folder / 'examples' / f'Split-{split}').iterdir()):
            for record in tfrecord.read(str(path)):
                assert isinstance(record, tfrecord.Record)
                payloads.append(record.payload)
        return payloads

    def examples(self) -> dict[str, dict[str, Any]]:
        """Image id -> features, with the split under 'split'."""
        rows: dict[str, dict[str, Any]] = {}
        for split in SPLITS:
            for payload in self.payloads(split):
                features = example_pb2.Example.FromString(payload).features.feature
                row: dict[str, Any] = {'split': split}
                for name, feature in features.items():
                    (value,) = (
                        feature.bytes_list.value
                        or feature.int64_list.value
                        or feature.float_list.value
                    )
                    row[name] = (
                        value.decode() if isinstance(value, bytes) and name != 'image' else value
                    )
                assert row['image_id'] not in rows
                rows[row['image_id']] = row
        return rows

    def files(self) -> dict[str, bytes]:
        """Path -> content of all files."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob('*'))
            if path.is_file()
        }


def ingest(root: Path, out: Path, fingerprint: str = 'a name', **data: Any) -> Ingested:
    """Runs the executor on `root`; `data` overrides the default parameters of a small data set."""
    parameters = {'root': str(root), 'split': {'fractions': FRACTIONS}, **data}
    examples, report, quarantine = standard_artifacts.Examples(), IngestReport(), Quarantine()
    examples.uri, report.uri, quarantine.uri = (
        str(out / name) for name in ('examples', 'report', 'quarantine')
    )
    executor = Executor(
        Executor.Context(make_beam_pipeline_fn=lambda: beam.Pipeline(runner='FnApiRunner'))
    )
    properties = {
        'data': json.dumps(parameters),
        'task': 'nih_triage',
        'label': ABNORMAL,
        'fingerprint': fingerprint,
        'code_digest': '',
    }
    executor.Do(
        {}, {'examples': [examples], 'report': [report], 'quarantine': [quarantine]}, properties
    )
    return Ingested(out)
