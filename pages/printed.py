"""What every printed page of a run names: model, run and version."""

from __future__ import annotations

import re

from markupsafe import Markup

from pages import lineage
from pages.runs import Run


def identity(run: Run) -> str:
    """The model, the run and the served version, e.g. for the head of a printed page.

    Example:
        >>> identity(run)
        'Model demo-5b2f7c1e09aa · run of 2026-11-30 07:30:15 · version 1796023900'
    """
    version = lineage.served_version(run)
    return ' · '.join(
        (
            f'Model {_model(run)}',
            f'run of {run.label}',
            f'version {version.version}' if version else f'no version ({run.state})',
        )
    )


def _model(run: Run) -> str:
    """The name of the model; a damaged artifact must not keep any page from being written."""
    try:
        info = run.model_info
        return str(info['model_version']) if info else 'not trained'
    except (OSError, ValueError, KeyError, TypeError):
        return 'not readable'


def style(text: str) -> Markup:
    """CSS that prints a text at the head of every page, and page numbers at its foot."""
    font = 'font: 9px sans-serif'
    return Markup(
        f'@page {{ @top-left {{ content: {css_text(text)}; {font}; white-space: nowrap; }} '
        f'@bottom-right {{ content: "page " counter(page) " of " counter(pages); {font}; }} }}'
    )


def css_text(text: str) -> str:
    r"""A text as a string of CSS, with quotes.

    Everything but letters, digits and spaces is escaped: the text can hold names from data.

    Example:
        >>> css_text('a"b')
        '"a\\000022b"'
    """
    escaped = (
        letter if re.fullmatch('[A-Za-z0-9 ]', letter) else f'\\{ord(letter):06x}'
        for letter in text
    )
    return f'"{"".join(escaped)}"'
