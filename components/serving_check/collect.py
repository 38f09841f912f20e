"""Collects a few raw examples, with the trainer's answers for them.

The trainer saw the images after Transform, but the served model gets the encoded images. If their
answers are equal, the whole path from image to answer is right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

import storage
from components.serving_check import samples
from records import tfrecord
from records.example_proto import Example
from schemas.features import IMAGE_ID
from trainer.artifacts import PREDICTIONS_FILE

# The split of the samples: the trainer did not learn from it.
SPLIT = 'val'


def collect(model_run: str, example_files: Iterable[str], folder: str, count: int) -> None:
    """Writes the files that `samples.read` reads.

    Args:
      model_run: the URI of the Trainer's ModelRun.
      example_files: TFRecord files with the raw examples of `SPLIT`.
      folder: a local folder to write to.
      count: largest number of samples.

    Raises:
      SamplesError: the Trainer's answers are missing, damaged, or of other images; or a record file
        is damaged.
    """
    path = os.path.join(model_run, PREDICTIONS_FILE)
    answers, operating_point = _answers(path)
    sample_answers: list[dict] = []
    with open(os.path.join(folder, samples.RECORDS_FILE), 'wb') as stream:
        for record in _records(example_files):
            image_id = (
                Example.FromString(record).features.feature[IMAGE_ID].bytes_list.value[0].decode()
            )
            if image_id in answers and len(sample_answers) < count:
                sample_answers.append(answers.pop(image_id))
                stream.write(tfrecord.frame(record))
            if len(sample_answers) == count:
                break
    if not sample_answers:
        raise samples.SamplesError(
            f'{path}: none of its images is among the examples of split {SPLIT!r}; run the '
            'Trainer again'
        )
    with open(os.path.join(folder, samples.ANSWERS_FILE), 'w', encoding='utf-8') as file:
        json.dump({'samples': sample_answers, 'operating_point': operating_point}, file)


def _answers(path: str) -> tuple[dict[str, dict], dict]:
    if not storage.exists(path):
        raise samples.SamplesError(
            f'{path} is missing: the Trainer writes it for this check; run the Trainer again'
        )
    try:
        content = json.loads(storage.read_text(path))
        return {answer['image_id']: answer for answer in content['splits'][SPLIT]}, content[
            'operating_point'
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise samples.SamplesError(
            f'{path}: not what the Trainer writes for this check ({error!r}); run the Trainer again'
        ) from None


def _records(files: Iterable[str]) -> Iterable[bytes]:
    for path in files:
        for record in tfrecord.read(path):
            if isinstance(record, tfrecord.Damage):
                raise samples.SamplesError(
                    f'{path}, record {record.index}: {record.reason}; run XrayExampleGen again'
                )
            yield record.payload
