"""Compares the number of images that each step read with the number that ingestion wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfx.types import artifact_utils

import storage
from components.data_audit.artifact import AUDIT_JSON
from components.evaluator import registry, results
from components.xray_example_gen.artifact import REPORT_FILE
from pipeline import steps as step_names
from pipeline.local_runner import Step
from trainer.artifacts import MODEL_INFO_FILE


class CountError(RuntimeError):
    """A step used more or fewer images than ingestion wrote; the text names step, split, counts."""


def check(steps: Mapping[str, Step]) -> None:
    """Checks the last of the finished steps.

    Raises:
      CountError: its counts differ from those of ingestion.
    """
    *_, step = steps.values()
    reader = _READERS.get(step.name)
    if reader is None:
        return
    key, count = reader
    folder = artifact_utils.get_single_uri(step.outputs[key])
    report = artifact_utils.get_single_uri(steps[step_names.INGESTION.name].outputs['report'])
    ingested = {
        name: split['records'] for name, split in _json(report, REPORT_FILE)['splits'].items()
    }
    counts = list(count(step, folder))
    if not counts:
        raise CountError(
            f'{step.name} does not report how many images it used. Delete {folder} and run the '
            'same command again.'
        )
    for split, number in counts:
        if number != ingested[split]:
            raise CountError(
                f'{step.name} used {number:,} images of split {split!r}, but '
                f'{step_names.INGESTION.name} '
                f'wrote {ingested[split]:,} ({report}). '
                f'Delete {folder} and run the same command again.'
            )


def _json(*path: str) -> dict[str, Any]:
    return json.loads(storage.read_text(storage.join(*path)))


def split_statistics(step: Step) -> Iterator[tuple[str, Any]]:
    """(split, DatasetFeatureStatistics proto) from the output of StatisticsGen."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    artifact = artifact_utils.get_single_instance(step.outputs['statistics'])
    for split in artifact_utils.decode_split_names(artifact.split_names):
        content = storage.read_bytes(
            storage.join(artifact.uri, f'Split-{split}', 'FeatureStats.pb')
        )
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
        yield split, dataset


def _statistics(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    del folder
    for split, dataset in split_statistics(step):
        yield split, dataset.num_examples


def _audit(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    del step
    for row in _json(folder, AUDIT_JSON)['splits']:
        yield row['split'], row['images']


def _trainer(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    del step
    for split, counts in _json(folder, 'Format-Serving', MODEL_INFO_FILE)['records'].items():
        yield split, counts['records']


def _evaluator(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    del step
    try:
        overall = results.read(folder, plots=False, overall_only=True).overall
    except results.EvaluationError:
        return
    for model in (results.CANDIDATE, results.BASELINE):
        count = overall.value(registry.IMAGES, model)
        if count is not None:
            yield 'test', round(count)


# Step -> the output with its counts, and the function that reads them.
_READERS: dict[str, tuple[str, Callable[[Step, str], Iterator[tuple[str, int]]]]] = {
    step_names.STATISTICS.name: ('statistics', _statistics),
    step_names.AUDIT.name: ('audit', _audit),
    step_names.TRAINER.name: ('model', _trainer),
    step_names.EVALUATOR.name: ('evaluation', _evaluator),
}
