"""Checks a page with axe-core."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_AXE = Axe()
# Describing what passes takes a third of axe's time.
_OPTIONS = {'resultTypes': ['violations']}
_FEWEST_PASSES = 10


def violations(page: Page, from_disk: bool = False, exclude: str = '') -> list[str]:
    """What axe finds on a page, each with its impact, rule and first element.

    Args:
      page: an open page.
      from_disk: whether the page may not request its own style sheet once more, as axe would.
      exclude: a selector of elements that are not checked.
    """
    options = {**_OPTIONS, 'preload': False} if from_disk else _OPTIONS
    context = {'exclude': [[exclude]]} if exclude else None
    found = _AXE.run(page, context=context, options=options).response
    assert len(found['passes']) > _FEWEST_PASSES, 'axe has checked nothing'
    return [
        f'{rule["impact"]} {rule["id"]}: {rule["nodes"][0]["html"]}' for rule in found['violations']
    ]
