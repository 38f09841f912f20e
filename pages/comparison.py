"""Runs side by side and over time: what was measured, and what is on record of how each was
made.
"""

from __future__ import annotations

from typing import Any

from pages import tfma_ui


def context(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the template comparison.html shows.

    Args:
      summaries: as `overview.summary` makes them, newest first.
    """
    measured = [run for run in reversed(summaries) if run['slices']]
    # A run that found its evaluation in the cache measured nothing anew.
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
        'tfma': {'series': {title: one for title, one in series.items() if len(one) > 1}},
        'content': {
            'runs': [
                {
                    'title': name(run),
                    'evaluation': run['evaluation'],
                    'slices': run['slices'],
                    'facts': run['facts'],
                }
                for run in summaries
            ]
        },
    }


def name(run: dict[str, Any]) -> str:
    """A run in a menu: when, what, how it ended."""
    version = f' {run["version"]}' if run['version'] else ''
    return f'{run["title"]} {run["pipeline"]}, {run["state"]}{version}'


def _data(run: dict[str, Any]) -> str:
    return f'data {run["facts"].get("data.fingerprint", "")[:12]}'
