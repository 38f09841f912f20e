"""Makes Examples artifacts and audits them, for the tests of DataAudit and DataGate."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from PIL import Image
from tensorflow.core.example import example_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.data_audit.artifact import DataAuditReport
from components.data_audit.executor import Executor
from records import tfrecord
from records.examples import build, parse, put_bytes, put_float, put_int, serialize
from records.metadata import nih_patient, read_table
from schemas.features import (
    AGE,
    AGE_BAND,
    FOLLOW_UP,
    PATIENT_ID,
    SEX,
    SPLITS,
    VIEW,
    WEIGHT,
    age_band,
)
from schemas.labels import LABELS, NO_FINDING, OTHER, derived
from trainer.tasks import TASKS

TASK = TASKS['nih_triage']


@dataclass
class Example:
    """An image with the features that XrayExampleGen would give it."""

    image: bytes
    image_id: str | None
    split: str
    patient: str = ''
    labels: Mapping[str, int] = field(default_factory=lambda: {NO_FINDING: 1})
    age: int = 50
    sex: str = 'F'
    view: str = 'PA'

    def serialize(self) -> bytes:
        """Returns the serialized tf.train.Example."""
        labels = {name: int(self.labels.get(name, 0)) for name in (*LABELS, OTHER)}
        example = example_pb2.Example.FromString(build(self.image, self.image_id, labels))
        patient = self.patient or (nih_patient(self.image_id or '') or '')
        for name, text in (
            (PATIENT_ID, patient),
            (AGE_BAND, age_band(self.age)),
            (SEX, self.sex),
            (VIEW, self.view),
        ):
            put_bytes(example, name, text.encode())
        for name, value in (
            (AGE, self.age),
            (FOLLOW_UP, 0),
            *derived(labels).items(),
            (OTHER, labels[OTHER]),
        ):
            put_int(example, name, value)
        put_float(example, WEIGHT, 1.0)
        return serialize(example)


def split_of(patient: str) -> str:
    """The split of a patient by a hash, with fractions 70/10/10/10."""
    tenth = int(hashlib.sha256(patient.encode()).hexdigest(), 16) % 10
    return SPLITS[max(0, tenth - 6)]


def real_examples(real_data: Path, files: int | None = None) -> list[Example]:
    """NIH images with their metadata, split by patient."""
    table = read_table(str(real_data / 'nih/metadata/Data_Entry_2017_v2020.csv.gz'))
    examples = []
    for path in sorted((real_data / 'nih/data').glob('*.tfrec'))[:files]:
        for item in tfrecord.read(str(path)):
            assert isinstance(item, tfrecord.Record)
            record = parse(item.payload)
            entry = table[record.image_id or '']
            examples.append(
                Example(
                    record.image,
                    record.image_id,
                    split_of(entry.patient_id),
                    '',
                    record.labels,
                    entry.age,
                    entry.sex,
                    entry.view_position,
                )
            )
    return examples


def write_examples(
    folder: Path, examples: Iterable[Example], splits: Iterable[str] = SPLITS
) -> standard_artifacts.Examples:
    """Writes an Examples artifact with one uncompressed record file per split."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    shards = {}
    for split in splits:
        path = (
            Path(artifact_utils.get_split_uri([artifact], split)) / 'data_tfrecord-00000-of-00001'
        )
        path.parent.mkdir(parents=True)
        shards[split] = path.open('wb')
    for example in examples:
        shards[example.split].write(tfrecord.frame(example.serialize()))
    for shard in shards.values():
        shard.close()
    return artifact


def run_audit(
    folder: Path, examples: standard_artifacts.Examples, **parameters: Any
) -> DataAuditReport:
    """Runs the executor on Beam's in-process runner."""
    report = DataAuditReport()
    report.uri = str(folder)
    # With beam_pipeline_args TFX first builds a package for remote workers, which takes seconds.
    executor = Executor(
        Executor.Context(make_beam_pipeline_fn=lambda: beam.Pipeline(runner='FnApiRunner'))
    )
    properties = {'parameters': json.dumps(parameters), 'code_digest': ''}
    executor.Do({'examples': [examples]}, {'audit': [report]}, properties)
    return report


@lru_cache(maxsize=256)
def draw(seed: int, **options: Any) -> bytes:
    """A synthetic chest X-ray of 600x600 pixels with a texture that depends on `seed`.

    Lungs and corners are dark, spine and abdomen bright.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:600j, -1:1:600j]
    pixels = 150 + 60 * y - 60 * (np.abs(x) > 0.85) + 40 * np.exp(-((x / 0.15) ** 2))
    for side in (-1, 1):
        pixels -= 90 * np.exp(-(((x - side * 0.45) / 0.25) ** 2) - ((y + 0.1) / 0.5) ** 2)
    texture = Image.fromarray(random.normal(0, 1, (24, 24)).astype(np.float32)).resize(
        (600, 600), Image.Resampling.BICUBIC
    )
    pixels += 25 * np.asarray(texture) + random.normal(0, 3, pixels.shape)
    return encode(Image.fromarray(np.clip(pixels, 1, 254).astype(np.uint8)), **options)


def encode(image: Image.Image, **options: Any) -> bytes:
    """Encodes an image with Pillow's `options`; by default a JPEG of quality 90."""
    out = io.BytesIO()
    image.save(out, **{'format': 'JPEG', 'quality': 90, **options})
    return out.getvalue()


def decode(image: bytes) -> Image.Image:
    """Opens an encoded image."""
    return Image.open(io.BytesIO(image))
