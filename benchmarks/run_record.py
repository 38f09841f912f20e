"""What a run left of itself: how long its steps took, from the metadata store, and how large its examples are."""

from __future__ import annotations

from pathlib import Path

from pipeline import history


def step_seconds(root: Path) -> dict[str, float]:
    """Step -> seconds of its execution in the latest run of a root."""
    return {
        step: (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
        for step, execution in history.runs(root)[-1].items()
    }


def transformed_bytes(root: Path) -> int:
    """The size of all transformed examples of a root with one run."""
    return sum(path.stat().st_size for path in (root / 'artifacts/Transform/transformed_examples').glob('*/Split-*/*'))
