"""Reads the outputs of runs of `cxr-triage`: states of steps, artifacts, served model, log."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

from pipeline import history
from pipeline.run_root import RunRoot
from pipeline.steps import REQUIRED

COMPLETE, CACHED, FAILED = 'COMPLETE', 'CACHED', 'FAILED'
# Messages of TensorFlow, absl and Beam, and Python's warnings, on a screen.
NOISE = re.compile(
    r'^[IWEF]\d{4} |^\d{4}-\d\d-\d\d '
    r'\d\d:|absl|apache_beam|tensorflow/|computation_placer|oneDNN|Warning:|WARNING',
    re.MULTILINE,
)


def states(root: Path) -> list[dict[str, str]]:
    """For each run on record, oldest first: step -> state."""
    name_of = metadata_store_pb2.Execution.State.Name
    return [
        {step: name_of(execution.last_known_state) for step, execution in run.items()}
        for run in history.runs(root)
    ]


def that_ran(root: Path) -> set[str]:
    """The steps that the last run executed; the others came from the cache.

    Baseline is left out: it runs whenever another version is served, whatever else has changed.
    """
    last = states(root)[-1]
    assert set(last) == set(REQUIRED), last
    assert set(last.values()) <= {COMPLETE, CACHED}, last
    return {name for name, state in last.items() if state == COMPLETE} - {'Baseline'}


def steps_from(first: str) -> set[str]:
    """A step and all later ones, without Baseline."""
    return set(REQUIRED[REQUIRED.index(first) :]) - {'Baseline'}


def served(directory: Path) -> dict[str, tuple[int, int]]:
    """File in a push directory -> its size and modification time; a push changes this."""
    files = (
        path for path in directory.rglob('*') if path.is_file() and not path.name.startswith('.')
    )
    return {
        str(path.relative_to(directory)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    }


def newest_version(directory: Path) -> Path:
    """The version that TF Serving would serve."""
    return max(
        (path for path in directory.iterdir() if path.name.isdigit()),
        key=lambda path: int(path.name),
    )


def manifest(version: Path) -> dict:
    """The manifest of a version."""
    return json.loads((version / 'manifest.json').read_text())


def last_output(root: Path, component: str, output: str) -> Path:
    """The folder of an output of the latest execution of a step."""
    return max(
        (RunRoot(root).artifacts / component / output).iterdir(), key=lambda path: int(path.name)
    )


def log_of(root: Path) -> str:
    """The log of the latest run."""
    return max(RunRoot(root).logs.iterdir(), key=lambda path: path.stat().st_mtime_ns).read_text(
        encoding='utf-8'
    )
