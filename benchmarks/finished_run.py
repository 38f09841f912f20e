"""Reads from a finished run how long its steps took, and how large its examples are."""

from __future__ import annotations

from pathlib import Path

from pipeline import history
from pipeline.run_root import RunRoot


def newest(root: Path, artifact: str) -> Path:
    """The folder of a root's latest artifact, such as 'Transform/transformed_examples'."""
    return max((RunRoot(root).artifacts / artifact).iterdir(), key=lambda path: int(path.name))


def step_times(root: Path) -> dict[str, tuple[float, float]]:
    """Step -> start and end of its execution in the latest run of a root, in seconds since 1970."""
    return {
        step: (
            execution.create_time_since_epoch / 1000,
            execution.last_update_time_since_epoch / 1000,
        )
        for step, execution in history.runs(root)[-1].items()
    }


def step_seconds(root: Path) -> dict[str, float]:
    """Step -> duration of its execution in the latest run of a root, in seconds."""
    return {step: end - start for step, (start, end) in step_times(root).items()}


def transformed_bytes(root: Path) -> int:
    """The size of the transformed examples of the latest run of a root, in bytes."""
    return sum(
        path.stat().st_size
        for path in newest(root, 'Transform/transformed_examples').glob('Split-*/*')
    )
