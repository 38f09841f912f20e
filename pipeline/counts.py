"""Compares, from step to step, how many films each step read with how many ingestion wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfx.types import artifact_utils

import storage
from components.data_audit.artifact import AUDIT_JSON
from components.xray_example_gen.artifact import REPORT_FILE
from pipeline.local_runner import Step
from trainer.artifacts import FACTS_FILE

INGESTION = 'XrayExampleGen'


class CountError(RuntimeError):
    """A step worked on more or fewer films than ingestion wrote; the text names step, split, counts
    and what to do.
    """


def check(steps: Mapping[str, Step]) -> None:
    """Checks the last of the steps that are done.

    Raises:
      CountError: its counts are not those of ingestion.
    """
    *_, step = steps.values()
    reader = _READERS.get(step.name)
    if reader is None:
        return
    key, count = reader
    folder = artifact_utils.get_single_uri(step.outputs[key])
    report = artifact_utils.get_single_uri(steps[INGESTION].outputs['report'])
    written = {
        name: split['records'] for name, split in _json(report, REPORT_FILE)['splits'].items()
    }
    counted = list(count(step, folder))
    if not counted:
        raise CountError(
            f'{step.name} does not say how many films it worked on. Delete {folder} and run the '
            'same command again.'
        )
    for split, number in counted:
        if number != written[split]:
            raise CountError(
                f'{step.name} worked on {number:,} films of split {split!r}, but {INGESTION} '
                f'wrote {written[split]:,} ({report}). '
                f'Delete {folder} and run the same command again.'
            )


def _json(*path: str) -> dict[str, Any]:
    return json.loads(storage.read_text(storage.join(*path)))


def _statistics(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    artifact = artifact_utils.get_single_instance(step.outputs['statistics'])
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = storage.join(folder, f'Split-{split}', 'FeatureStats.pb')
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(
            storage.read_bytes(path)
        ).datasets
        yield split, dataset.num_examples


def _audit(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    del step
    for row in _json(folder, AUDIT_JSON)['splits']:
        yield row['split'], row['images']


def _trainer(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    del step
    for split, counts in _json(folder, 'Format-Serving', FACTS_FILE)['records'].items():
        yield split, counts['records']


def _evaluator(step: Step, folder: str) -> Iterator[tuple[str, int]]:
    import tensorflow_model_analysis as tfma

    del step
    for of_slice in tfma.load_metrics(folder):
        for item in (
            of_slice.metric_keys_and_values if not of_slice.slice_key.single_slice_keys else ()
        ):
            if item.key.name == 'example_count' and not item.key.is_diff:
                yield 'test', round(item.value.double_value.value)


# Step -> its output that says what it worked on, and how to count there.
_READERS: dict[str, tuple[str, Callable[[Step, str], Iterator[tuple[str, int]]]]] = {
    'StatisticsGen': ('statistics', _statistics),
    'DataAudit': ('audit', _audit),
    'Trainer': ('model', _trainer),
    'Evaluator': ('evaluation', _evaluator),
}
