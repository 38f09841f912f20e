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
    """A small encoded image that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def image_id(patient: int, study: int = 0) -> str:
    """In the NIH form."""
    return f'{patient:08d}_{study:03d}.png'


def labels(patient: int) -> dict[str, int]:
    """Every other patient has a finding."""
    return {NO_FINDING: 1} if patient % 2 else {FINDINGS[patient // 2 % len(FINDINGS)]: 1}


def record(patient: int, study: int = 0) -> bytes:
    """A good record."""
    return build(image(patient * 10 + study), image_id(patient, study), labels(patient))


def write_file(path: Path, payloads: Iterable[bytes], zipped: bool = False) -> Path:
    """Writes a TFRecord file."""
    data = b''.join(map(tfrecord.frame, payloads))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def write_table(root: Path, rows: Mapping[str, tuple[str, str, str]]) -> None:
    """Writes the Data_Entry table: image id -> (age, sex, view)."""
    lines = [','.join(TABLE_COLUMNS)]
    for name, (age, sex, view) in rows.items():
        lines.append(f'{name},No Finding,3,{int(name[:8])},{age},{sex},{view},600,600,0.1,0.1')
    path = root / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress('\n'.join(lines).encode(), mtime=0))


def write_root(
    root: Path, first: int = 1, patients: int = PATIENTS, files: int = 3, folder: str = 'data'
) -> Path:
    """Writes good records, the even patients with two images each, over `files` files that keep
    what their names promise.
    """
    every = [
        record(patient, study)
        for patient in range(first, first + patients)
        for study in range(2 - patient % 2)
    ]
    for number in range(files):
        part = every[number::files]
        write_file(root / folder / f'{number:03d}-{len(part)}.tfrec', part)
    return root


@dataclass(frozen=True)
class Ingested:
    """What XrayExampleGen left."""

    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        """`ingest.json`."""
        return json.loads((self.folder / 'report' / 'ingest.json').read_text())

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        """Rows of the quarantine's list."""
        return [
            json.loads(line)
            for line in (self.folder / 'quarantine' / 'quarantine.jsonl').read_text().splitlines()
        ]

    def payloads(self, split: str) -> list[bytes]:
        """The serialized examples of a split."""
        found = []
        for path in sorted((self.folder / 'examples' / f'Split-{split}').iterdir()):
            for item in tfrecord.read(str(path)):
                assert isinstance(item, tfrecord.Record)
                found.append(item.payload)
        return found

    def examples(self) -> dict[str, dict[str, Any]]:
        """Image id -> feature -> value, with the split under 'split'."""
        found = {}
        for split in SPLITS:
            for payload in self.payloads(split):
                features = example_pb2.Example.FromString(payload).features.feature
                row: dict[str, Any] = {'split': split}
                for name, feature in features.items():
                    (value,) = feature.bytes_list.value or feature.int64_list.value
                    row[name] = (
                        value.decode() if isinstance(value, bytes) and name != 'image' else value
                    )
                assert row['image_id'] not in found
                found[row['image_id']] = row
        return found

    def files(self) -> dict[str, bytes]:
        """All files but the report's counts, by path."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob('*'))
            if path.is_file()
        }


def ingest(root: Path, out: Path, fingerprint: str = 'a name', **data: Any) -> Ingested:
    """Runs the executor on `root`; `data` is laid over fractions that suit few patients."""
    given = {'root': str(root), 'split': {'fractions': FRACTIONS}, **data}
    examples, report, quarantine = standard_artifacts.Examples(), IngestReport(), Quarantine()
    examples.uri, report.uri, quarantine.uri = (
        str(out / name) for name in ('examples', 'report', 'quarantine')
    )
    executor = Executor(
        Executor.Context(make_beam_pipeline_fn=lambda: beam.Pipeline(runner='FnApiRunner'))
    )
    properties = {
        'data': json.dumps(given),
        'task': 'nih_triage',
        'label': ABNORMAL,
        'fingerprint': fingerprint,
        'code_digest': '',
    }
    executor.Do(
        {}, {'examples': [examples], 'report': [report], 'quarantine': [quarantine]}, properties
    )
    return Ingested(out)
