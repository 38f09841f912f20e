"""The trainer's answers for a few examples, which a served model must reproduce.

This module does not import TensorFlow.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from records import tfrecord
from records.example_proto import Example
from schemas.features import IMAGE, IMAGE_ID

RECORDS_FILE = 'serving_samples.tfrecord'
ANSWERS_FILE = 'serving_samples.json'
_ADVICE = 'run the Trainer again'


class SamplesError(RuntimeError):
    """The samples cannot be used; the text says which file is wrong, why, and what to do."""


@dataclass(frozen=True)
class Sample:
    """One example with the trainer's answer.

    Attributes:
      image_id: of the example.
      example: a serialized tf.Example.
      image: the encoded image.
      probability: 0..1, the trainer's.
      flag: 0 or 1, the trainer's.
    """

    image_id: str
    example: bytes
    image: bytes
    probability: float
    flag: int


@dataclass(frozen=True)
class Samples:
    """The samples of a check.

    Attributes:
      items: the samples.
      threshold: the operating point, a probability 0..1; None if the trainer did not record it.
    """

    items: tuple[Sample, ...]
    threshold: float | None

    @property
    def ids(self) -> list[str]:
        """The image ids of `items`."""
        return [item.image_id for item in self.items]


def read(folder: str) -> Samples:
    """Reads the two sample files of a local folder.

    Raises:
      SamplesError: a file is missing or damaged, there are no samples, or the two files do not
        agree.
    """
    answers_path, records_path = (
        os.path.join(folder, ANSWERS_FILE),
        os.path.join(folder, RECORDS_FILE),
    )
    try:
        with open(answers_path, encoding='utf-8') as stream:
            content = json.load(stream)
        answers = [
            (str(item['image_id']), float(item['probability']), int(item['flag']))
            for item in content['samples']
        ]
        operating_point = content.get('operating_point') or {}
        threshold = operating_point.get('threshold')
        records = list(tfrecord.read(records_path))
    except OSError as error:
        raise SamplesError(
            f'{error.filename}: {error.strerror}: the Trainer writes its content for this check; '
            f'{_ADVICE}'
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SamplesError(
            f'{answers_path}: expected {{"samples": [{{image_id, probability, flag}}, …]}}: '
            f'{error!r}; {_ADVICE}'
        ) from error
    if not answers or len(records) != len(answers):
        raise SamplesError(
            f'{records_path} holds {len(records)} records and {answers_path} {len(answers)} '
            f'answers: expected the same number, at least 1; {_ADVICE}'
        )
    items = [
        _sample(records_path, record, *answer)
        for record, answer in zip(records, answers, strict=True)
    ]
    return Samples(tuple(items), None if threshold is None else float(threshold))


def _sample(
    path: str,
    record: tfrecord.Record | tfrecord.Damage,
    image_id: str,
    probability: float,
    flag: int,
) -> Sample:
    where = f'{path}, record {record.index} ({image_id})'
    if isinstance(record, tfrecord.Damage):
        raise SamplesError(f'{where}: {record.reason}; {_ADVICE}')
    if not (math.isfinite(probability) and 0 <= probability <= 1 and flag in (0, 1)):
        raise SamplesError(
            f'{where}: the answer is probability {probability}, flag {flag}: expected 0..1 and 0 '
            f'or 1; {_ADVICE}'
        )
    try:
        features = Example.FromString(record.payload).features.feature
    except DecodeError:
        raise SamplesError(f'{where}: not a tf.train.Example; {_ADVICE}') from None
    images = features[IMAGE].bytes_list.value
    if len(images) != 1:
        raise SamplesError(f'{where}: {len(images)} values of {IMAGE!r}: expected 1; {_ADVICE}')
    ids = [value.decode('utf-8', 'replace') for value in features[IMAGE_ID].bytes_list.value]
    if ids and ids != [image_id]:
        raise SamplesError(
            f'{where}: the record is of image {ids[0]}: the two files are not in the same order; '
            f'{_ADVICE}'
        )
    return Sample(image_id, record.payload, images[0], probability, flag)


def image_only(image: bytes) -> bytes:
    """A serialized tf.Example with only an image, as a client of TF Serving sends it."""
    example = Example()
    example.features.feature[IMAGE].bytes_list.value[:] = [image]
    return example.SerializeToString(deterministic=True)
