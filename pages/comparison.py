"""The page that compares runs: their metrics, over time too, and the facts that define them."""

from __future__ import annotations

from typing import Any

from pages import tfma_ui
from pages.lineage import SETTING


def context(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """The values of the template comparison.html.

    Args:
      summaries: the summaries of `overview.summary`, newest first.
    """
    measured = [run for run in reversed(summaries) if run['slices']]
    # Runs that took their evaluation from the cache share it.
    different = list({run['evaluation']: run for run in reversed(measured)}.values())[::-1]
    titles = dict.fromkeys(title for run in different for title in run['slices'])
    series = {
        title: tfma_ui.time_series(
            [(name(run), _data(run), run['slices']) for run in different], title
        )
        for title in titles
    }
    return {
        'measured': len(measured),
        'different': len(different),
        'runs': len(summaries),
        'tfma': {'series': {title: points for title, points in series.items() if len(points) > 1}},
        'content': {'setting': SETTING, 'runs': [_content(run) for run in summaries]},
    }


def _content(run: dict[str, Any]) -> dict[str, Any]:
    keys = ('slug', 'label', 'note', 'state', 'evaluation', 'slices', 'facts', 'has_curves')
    return {key: run[key] for key in keys}


def name(run: dict[str, Any]) -> str:
    """The text for a run in a plot: its name and time, pipeline and state."""
    version = f' {run["version"]}' if run['version'] else ''
    return f'{run["label"]} {run["pipeline"]}, {run["state"]}{version}'


def _data(run: dict[str, Any]) -> str:
    return f'data {run["facts"].get("data.fingerprint", "")[:12]}'
