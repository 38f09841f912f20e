"""A run stops if its steps do not agree on the number of images of a split."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.data_audit.artifact import AUDIT_JSON, DataAuditReport
from components.xray_example_gen.artifact import REPORT_FILE, IngestReport
from pipeline import counts, steps
from pipeline.local_runner import Step
from trainer.artifacts import MODEL_INFO_FILE

COUNTS = {'train': 6, 'val': 2, 'calibration': 2, 'test': 2}


def _step(name: str, key: str, artifact, folder: Path) -> Step:
    artifact.uri = str(folder)
    return Step(name, 'cached', 0.0, {key: [artifact]})


def _ingestion(folder: Path) -> Step:
    folder.mkdir()
    (folder / REPORT_FILE).write_text(
        json.dumps({'splits': {split: {'records': count} for split, count in COUNTS.items()}})
    )
    return _step(steps.INGESTION.name, 'report', IngestReport(), folder)


def _statistics(folder: Path, images: dict[str, int]) -> Step:
    artifact = standard_artifacts.ExampleStatistics()
    artifact.split_names = artifact_utils.encode_split_names(list(images))
    for split, count in images.items():
        path = folder / f'Split-{split}' / 'FeatureStats.pb'
        path.parent.mkdir(parents=True)
        path.write_bytes(
            statistics_pb2.DatasetFeatureStatisticsList(
                datasets=[{'num_examples': count}]
            ).SerializeToString()
        )
    return _step('StatisticsGen', 'statistics', artifact, folder)


def _audit(folder: Path, images: dict[str, int]) -> Step:
    folder.mkdir()
    rows = [{'split': split, 'images': count} for split, count in images.items()]
    (folder / AUDIT_JSON).write_text(json.dumps({'splits': rows}))
    return _step('DataAudit', 'audit', DataAuditReport(), folder)


def _trainer(folder: Path, images: dict[str, int]) -> Step:
    path = folder / 'Format-Serving' / MODEL_INFO_FILE
    path.parent.mkdir(parents=True)
    records = {split: {'records': count} for split, count in images.items() if split != 'test'}
    path.write_text(json.dumps({'records': records}))
    return _step('Trainer', 'model', standard_artifacts.Model(), folder)


STEPS = [_statistics, _audit, _trainer]


@pytest.mark.parametrize('make', STEPS)
def test_equal_counts_pass(make: Callable, tmp_path: Path) -> None:
    ingestion, step = _ingestion(tmp_path / 'report'), make(tmp_path / 'output', COUNTS)
    counts.check({ingestion.name: ingestion, step.name: step})


@pytest.mark.parametrize('make', STEPS)
def test_a_step_with_another_count_stops_the_run(make: Callable, tmp_path: Path) -> None:
    ingestion, step = (
        _ingestion(tmp_path / 'report'),
        make(tmp_path / 'output', {**COUNTS, 'val': 3}),
    )
    message = (
        f"{step.name} used 3 images of split 'val', but XrayExampleGen wrote 2 "
        f'({tmp_path}/report). Delete {tmp_path}/output and'
    )
    with pytest.raises(counts.CountError, match=re.escape(message)):
        counts.check({ingestion.name: ingestion, step.name: step})


def test_steps_without_counts_pass(tmp_path: Path) -> None:
    counts.check(
        {'CuratedSchema': _step('CuratedSchema', 'schema', standard_artifacts.Schema(), tmp_path)}
    )
