"""Writes the tables of docs/quality.md and docs/experiments.md: `make docs`.

The figures come from docs/quality, where `experiments.quality TASK --keep` and
`experiments.ablation TASK --keep` write them. A table stands between two marks, `<!-- quality: NAME
-->` and `<!-- end of quality: NAME -->`. Text outside the marks stays.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer.tasks import TASKS

_PROJECT = Path(__file__).resolve().parents[1]
KEPT = _PROJECT / 'docs' / 'quality'
PAGES = (_PROJECT / 'docs' / 'quality.md', _PROJECT / 'docs' / 'experiments.md')
# Names of rows among the figures.
FLOOR = 'frozen features'
MEAN = 'mean AUC of findings'


@dataclasses.dataclass(frozen=True)
class Kept:
    """What was measured.

    Attributes:
      tasks: what `experiments.quality` found, in the order of the tasks.
      ablations: what `experiments.ablation` found, likewise.
    """

    tasks: Sequence[dict[str, Any]]
    ablations: Sequence[dict[str, Any]]


def file_of(task: str, ablation: bool = False) -> Path:
    """Where figures of a task are kept."""
    return KEPT / (f'ablation-{task}.json' if ablation else f'{task}.json')


def written(page: str, kept: Kept) -> str:
    """A page with its tables anew.

    Raises:
      ValueError: a mark names no table, or has no end.
    """

    def table(mark: re.Match) -> str:
        name = mark['name']
        if name not in TABLES:
            raise ValueError(
                f'<!-- quality: {name} -->: no such table; there are {", ".join(TABLES)}'
            )
        return f'{mark["begin"]}\n{TABLES[name](kept)}{mark["end"]}'

    pattern = (
        r'(?P<begin><!-- quality: (?P<name>[\w ]+) -->)\n.*?(?P<end><!-- end of quality: '
        r'(?P=name) -->)'
    )
    found = re.sub(pattern, table, page, flags=re.DOTALL)
    begun = page.count('<!-- quality: ')
    if begun != len(re.findall(pattern, page, flags=re.DOTALL)):
        raise ValueError(
            f'{begun} tables begin with <!-- quality: NAME -->, and not each ends with <!-- end '
            'of quality: NAME -->'
        )
    return found


def load() -> Kept:
    """All that is kept."""
    tasks, ablations = (
        [
            json.loads(path.read_text())
            for path in (file_of(task, ablation) for task in TASKS)
            if path.exists()
        ]
        for ablation in (False, True)
    )
    return Kept(tasks, ablations)


def _tasks(kept: Kept) -> str:
    """A row a task: what its network knows, and what is known without training."""
    rows = [('task', 'films', 'pixels', 'AUC', '95 %', 'frozen features', 'above them', '95 %')]
    for result in kept.tasks:
        figures, name = result['figures'], _main(result)
        floor, above = figures[f'{name}, {FLOOR}'], figures[f'{name} above {FLOOR}']
        task = f'`{result["task"]}`' + (', mean of its findings' if name == MEAN else '')
        cells = (
            _value(figures[name]),
            _interval(figures[name]),
            _value(floor),
            _value(above),
            _interval(above),
        )
        rows.append(
            (task, f'{result["films"]:,}', str(result['settings']['model']['image_size']), *cells)
        )
    return _markdown(rows, left=1)


def _beside(kept: Kept) -> str:
    """A row for each other way to train for a task, and for frozen features of another layer."""
    rows = [('task', 'in another way', 'AUC', '95 %', 'the configured is above it by', '95 %')]
    for result in kept.tasks:
        figures, name = result['figures'], _main(result)
        for row in figures:
            other = row.removeprefix(f'{name}, ')
            if other not in (row, FLOOR):
                above = figures[f'{name} above {other}']
                rows.append(
                    (
                        f'`{result["task"]}`',
                        other,
                        _value(figures[row]),
                        _interval(figures[row]),
                        _value(above),
                        _interval(above),
                    )
                )
    return _markdown(rows, left=2)


def _groups(kept: Kept) -> str:
    """What stands beside each AUC: within a view or a source, and without the picture; rows that no
    task has are left out.
    """
    names = dict.fromkeys(
        row
        for result in kept.tasks
        for row in result['figures']
        if row.startswith(('AUC within', 'AUC of age', 'AUC of these')) or ' at 0.5' in row
    )
    names['expected calibration error'] = None
    rows = [('', *(f'`{result["task"]}`' for result in kept.tasks))]
    for name in names:
        rows.append((name, *(_both(result['figures'].get(name)) for result in kept.tasks)))
    return _markdown(rows, left=1)


def _findings(kept: Kept) -> str:
    """A row a finding."""
    rows = [('finding', 'AUC', '95 %')]
    for result in kept.tasks:
        for name in TASKS[result['task']].findings:
            figure = result['figures'][f'AUC of {name}']
            rows.append((name.replace('_', ' '), _value(figure), _interval(figure)))
    return _markdown(rows, left=1)


def _ablation(kept: Kept) -> str:
    """A row a variant, with the difference from the first row's training; of the first task that
    was looked at.
    """
    rows = [('', 'AUC', 'between seeds', 'less the first', '95 %')]
    for place, (name, row) in enumerate(
        kept.ablations[0]['variants'].items() if kept.ablations else ()
    ):
        less, spread = row['less'], row['spread']
        signed = '' if not place else f'{less["value"]:+.3f}'
        interval = '' if not place else f'{less["lower"]:+.3f} – {less["upper"]:+.3f}'
        rows.append(
            (
                name,
                _value(row['auc']),
                '' if spread is None else f'± {spread:.4f}',
                signed,
                interval,
            )
        )
    return _markdown(rows, left=1)


TABLES: dict[str, Callable[[Kept], str]] = {
    'tasks': _tasks,
    'beside': _beside,
    'groups': _groups,
    'findings': _findings,
    'ablation': _ablation,
}


def _main(kept: dict[str, Any]) -> str:
    """The figure that a task is judged by."""
    return MEAN if MEAN in kept['figures'] else 'AUC'


def _value(figure: dict[str, Any]) -> str:
    return f'{figure["value"]:.3f}'


def _interval(figure: dict[str, Any]) -> str:
    return '' if figure['lower'] is None else f'{figure["lower"]:.3f} – {figure["upper"]:.3f}'


def _both(figure: dict[str, Any] | None) -> str:
    return (
        '–'
        if figure is None or figure['value'] is None
        else f'{_value(figure)} ({_interval(figure)})'
    )


def _markdown(rows: Sequence[Sequence[str]], left: int) -> str:
    head, *body = rows
    line = ['---'] * left + ['---:'] * (len(head) - left)
    return ''.join(f'| {" | ".join(row)} |\n' for row in (head, line, *body))


def main() -> None:
    """Writes the pages."""
    kept = load()
    for path in PAGES:
        path.write_text(written(path.read_text(encoding='utf-8'), kept), encoding='utf-8')


if __name__ == '__main__':
    main()
