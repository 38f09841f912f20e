"""The front page: the runs of a root, newest first, and what is served now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.evaluator import registry
from components.pusher import target
from components.pusher.target import TargetError
from pipeline.run_root import RunRoot


def context(root: Path, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the template index.html shows.

    Args:
      root: of the runs.
      summaries: as `overview.summary` makes them, newest first.
    """
    version, trouble = _served(root)
    return {
        'runs': summaries,
        'figures': [registry.title(name) for name in registry.HEADLINE],
        'served': version,
        'trouble': trouble,
        'served_by': next(
            (run for run in summaries if version and run['version'] == version), None
        ),
        'problems': [(run, problem) for run in summaries for problem in run['problems']],
    }


def _served(root: Path) -> tuple[str, str]:
    """The version that is served from the root's own target, and what is wrong with it."""
    try:
        newest = target.newest(str(RunRoot(root).serving))
    except TargetError as error:
        return '', str(error)
    return (newest.version if newest else ''), ''
