"""Measures the pages of a root: time to write, size, and time to load them in Chromium.

    python -m benchmarks.pages ROOT

ROOT is the root of a run, such as runs/benchmarks/run-112120. Its pages are written again, with as
many slices as a run can have: the slices of its evaluation are repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.table import Table

from pipeline.run_root import RunRoot

_SLICES = 30
# Page -> the element that its scripts show last; the other pages are complete when they load.
_SHOWN = {
    'evaluation.html': '#tfma-slicing tfma-metrics-table table',
    # The counts of images, or the note that an earlier version kept none.
    'gallery.html': '.kind [role=status]:not(:empty), main > .note',
}
# The goals for each page, without thumbnails: seconds until it is shown, and megabytes.
_LIMIT_S, _LIMIT_MB = 2, 5
_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to pages.json beside ROOT."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path)
    root = parser.parse_args(argv).root.resolve()
    figures = measure(root)
    (root.parent / 'pages.json').write_text(json.dumps(figures, indent=1))
    Console().print(table(figures))


def measure(root: Path) -> dict:
    """Writes all pages, writes them again without changes, and opens the evaluation."""
    from pages import measured, site

    read_evaluation = measured.read

    def read_with_more_slices(folder: str, eval_config: str) -> measured.Evaluation:
        evaluation = read_evaluation(folder, eval_config)
        copies = itertools.islice(
            itertools.cycle(evaluation.slices[1:]), max(0, _SLICES - len(evaluation.slices))
        )
        # A condition twice selects the same images, and is another key.
        extra_slices = (
            dataclasses.replace(copy, key=copy.key * (2 + number // len(evaluation.slices[1:])))
            for number, copy in enumerate(copies)
        )
        return dataclasses.replace(evaluation, slices=(*evaluation.slices, *extra_slices))

    shutil.rmtree(RunRoot(root).pages, ignore_errors=True)
    seconds = []
    with mock.patch.object(measured, 'read', read_with_more_slices):
        for _ in range(2):
            start = time.monotonic()
            site_report = site.write(root)
            seconds.append(time.monotonic() - start)
    summaries = [
        path
        for path in (RunRoot(root).pages / 'runs').glob('*/summary.json')
        if json.loads(path.read_text())['slices']
    ]
    newest = max(summaries).parent
    files = [path for path in newest.rglob('*') if path.is_file()]
    slices = json.loads((newest / 'summary.json').read_text())['slices']
    return {
        'runs': site_report.runs,
        'write_s': seconds[0],
        'again_s': seconds[1],
        'slices': len(slices),
        'shared_bytes': _size((RunRoot(root).pages / 'assets').iterdir()),
        'run_bytes': _size(files),
        'evaluation_bytes': (newest / 'evaluation.html').stat().st_size,
        'threshold_bytes': (newest / 'threshold.html').stat().st_size,
        'gallery_bytes': (newest / 'gallery.html').stat().st_size,
        'pages': {
            page.name: {
                'bytes': page.stat().st_size,
                'shown_s': load_seconds(page, _SHOWN.get(page.name, 'main')),
            }
            for page in sorted(newest.glob('*.html'))
        },
    }


def load_seconds(page: Path, element: str) -> float | None:
    """Seconds until Chromium shows an element of a page from disk; None if there is no Chromium."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        return None
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        tab = browser.new_page()
        start = time.monotonic()
        tab.goto(page.as_uri())
        tab.locator(element).first.wait_for()
        seconds = time.monotonic() - start
        browser.close()
    return seconds


def table(figures: dict) -> Table:
    """A table of the figures."""
    pages = figures['pages']
    slowest = max(pages, key=lambda name: pages[name]['shown_s'] or 0)
    largest = max(pages, key=lambda name: pages[name]['bytes'])
    result = Table(box=None, pad_edge=False, show_header=False)
    for name, value in (
        (
            f'pages of {figures["runs"]} runs, {figures["slices"]} slices in the newest',
            f'{figures["write_s"]:.1f} s',
        ),
        ('again, without changes', f'{figures["again_s"]:.1f} s'),
        ('shared by all runs of a root', f'{figures["shared_bytes"] / 1e6:.1f} MB'),
        ('of the newest run', f'{figures["run_bytes"] / 1e6:.2f} MB'),
        ('its evaluation page', f'{figures["evaluation_bytes"] / 1e3:.0f} kB'),
        ('its threshold page', f'{figures["threshold_bytes"] / 1e3:.0f} kB'),
        ('its gallery, without pictures', f'{figures["gallery_bytes"] / 1e3:.0f} kB'),
        ("until Chromium shows TFMA's table", _seconds(pages['evaluation.html']['shown_s'])),
        ('until Chromium shows the gallery', _seconds(pages['gallery.html']['shown_s'])),
        (f'its slowest page, {slowest} (limit {_LIMIT_S} s)', _seconds(pages[slowest]['shown_s'])),
        (
            f'its largest page, {largest} (limit {_LIMIT_MB} MB)',
            f'{pages[largest]["bytes"] / 1e6:.2f} MB',
        ),
    ):
        result.add_row(name, value)
    return result


def _seconds(value: float | None) -> str:
    return '–' if value is None else f'{value:.1f} s'


def _size(paths) -> int:
    return sum(path.stat().st_size for path in paths)


if __name__ == '__main__':
    main()
