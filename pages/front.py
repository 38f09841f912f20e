"""The front page: the runs of a root, newest first, and the served version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.evaluator import registry
from components.pusher import target
from components.pusher.target import TargetError
from pages import settings
from pipeline.run_root import RunRoot


def context(root: Path, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """The values of the template index.html.

    Args:
      root: the run root.
      summaries: the summaries of `overview.summary`, newest first.
    """
    version, target_problem = _served(root)
    served_by = next((run for run in summaries if version and run['version'] == version), None)
    reference = settings.reference(summaries, served_by)
    return {
        'runs': summaries,
        'states': sorted({run['state'] for run in summaries}),
        'settings': settings.columns(summaries, reference['slug']) if reference else [],
        'reference': reference,
        'figures': [registry.title(name) for name in registry.HEADLINE],
        'served': version,
        'target_problem': target_problem,
        'served_by': served_by,
        'problems': [(run, problem) for run in summaries for problem in run['problems']],
    }


def _served(root: Path) -> tuple[str, str]:
    """(version, problem) of the root's own push target; each is '' if there is none."""
    try:
        newest = target.newest(str(RunRoot(root).serving))
    except TargetError as error:
        return '', str(error)
    return (newest.version if newest else ''), ''
