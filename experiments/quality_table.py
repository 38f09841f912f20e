"""Writes the tables of docs/quality.md and docs/experiments.md: `make docs`.

The figures are in docs/quality, where `experiments.quality TASK --keep` and
`experiments.ablation TASK --keep` write them. A table is between two marks, `<!-- quality: NAME
-->` and `<!-- end of quality: NAME -->`. Text outside the marks does not change.
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
RESULTS = _PROJECT / 'docs' / 'quality'
PAGES = (_PROJECT / 'docs' / 'quality.md', _PROJECT / 'docs' / 'experiments.md')
# Names of rows among the figures.
FLOOR = 'frozen features'
MEAN = 'mean AUC of findings'


@dataclasses.dataclass(frozen=True)
class Results:
    """The results in docs/quality.

    Attributes:
      tasks: from `experiments.quality`, in the order of the tasks.
      ablations: from `experiments.ablation`, in the same order.
    """

    tasks: Sequence[dict[str, Any]]
    ablations: Sequence[dict[str, Any]]


def results_path(task: str, ablation: bool = False) -> Path:
    """The file with the results of a task."""
    return RESULTS / (f'ablation-{task}.json' if ablation else f'{task}.json')


def updated(page: str, results: Results) -> str:
    """A page with updated tables.

    Raises:
      ValueError: a mark names no table, or has no end.
    """

    def table(mark: re.Match) -> str:
        name = mark['name']
        if name not in TABLES:
            raise ValueError(
                f'<!-- quality: {name} -->: no such table; there are {", ".join(TABLES)}'
            )
        return f'{mark["begin"]}\n{TABLES[name](results)}{mark["end"]}'

    pattern = (
        r'(?P<begin><!-- quality: (?P<name>[\w ]+) -->)\n.*?(?P<end><!-- end of quality: '
        r'(?P=name) -->)'
    )
    result = re.sub(pattern, table, page, flags=re.DOTALL)
    begin_marks = page.count('<!-- quality: ')
    if begin_marks != len(re.findall(pattern, page, flags=re.DOTALL)):
        raise ValueError(
            f'{begin_marks} tables begin with <!-- quality: NAME -->, but some do not end with '
            '<!-- end of quality: NAME -->'
        )
    return result


def load() -> Results:
    """Reads all results."""
    tasks, ablations = (
        [
            json.loads(path.read_text())
            for path in (results_path(task, ablation) for task in TASKS)
            if path.exists()
        ]
        for ablation in (False, True)
    )
    return Results(tasks, ablations)


def _tasks(results: Results) -> str:
    """A row for each task: its network compared with the floor."""
    rows = [('task', 'images', 'pixels', 'AUC', '95 %', 'frozen features', 'difference', '95 %')]
    for result in results.tasks:
        figures, name = result['figures'], _main_figure(result)
        floor, difference = figures[f'{name}, {FLOOR}'], figures[f'{name} above {FLOOR}']
        task = f'`{result["task"]}`' + (', mean of its findings' if name == MEAN else '')
        cells = (
            _value(figures[name]),
            _interval(figures[name]),
            _value(floor),
            _value(difference),
            _interval(difference),
        )
        rows.append(
            (task, f'{result["films"]:,}', str(result['settings']['model']['image_size']), *cells)
        )
    return _markdown(rows, left=1)


def _alternatives(results: Results) -> str:
    """A row for each alternative training, and for frozen features of an inner layer."""
    rows = [('task', 'alternative', 'AUC', '95 %', 'configured minus alternative', '95 %')]
    for result in results.tasks:
        figures, name = result['figures'], _main_figure(result)
        for row in figures:
            other = row.removeprefix(f'{name}, ')
            if other not in (row, FLOOR):
                difference = figures[f'{name} above {other}']
                rows.append(
                    (
                        f'`{result["task"]}`',
                        other,
                        _value(figures[row]),
                        _interval(figures[row]),
                        _value(difference),
                        _interval(difference),
                    )
                )
    return _markdown(rows, left=2)


def _groups(results: Results) -> str:
    """A row for each AUC of a view, a source or the metadata, and for the other figures."""
    names = dict.fromkeys(
        row
        for result in results.tasks
        for row in result['figures']
        if row.startswith(('AUC within', 'AUC of age', 'AUC of these')) or ' at 0.5' in row
    )
    names['expected calibration error'] = None
    rows = [('', *(f'`{result["task"]}`' for result in results.tasks))]
    for name in names:
        rows.append(
            (name, *(_value_and_interval(result['figures'].get(name)) for result in results.tasks))
        )
    return _markdown(rows, left=1)


def _findings(results: Results) -> str:
    """A row for each finding."""
    rows = [('finding', 'AUC', '95 %')]
    for result in results.tasks:
        for name in TASKS[result['task']].findings:
            figure = result['figures'][f'AUC of {name}']
            rows.append((name.replace('_', ' '), _value(figure), _interval(figure)))
    return _markdown(rows, left=1)


def _ablation(results: Results) -> str:
    """A row for each variant of the first task with results, compared with the first variant."""
    rows = [('', 'AUC', 'between seeds', 'difference', '95 %')]
    for index, (name, row) in enumerate(
        results.ablations[0]['variants'].items() if results.ablations else ()
    ):
        less, spread = row['less'], row['spread']
        difference = '' if not index else f'{less["value"]:+.3f}'
        interval = '' if not index else f'{less["lower"]:+.3f} – {less["upper"]:+.3f}'
        rows.append(
            (
                name,
                _value(row['auc']),
                '' if spread is None else f'± {spread:.4f}',
                difference,
                interval,
            )
        )
    return _markdown(rows, left=1)


TABLES: dict[str, Callable[[Results], str]] = {
    'tasks': _tasks,
    'beside': _alternatives,
    'groups': _groups,
    'findings': _findings,
    'ablation': _ablation,
}


def _main_figure(result: dict[str, Any]) -> str:
    """The name of a task's main figure."""
    return MEAN if MEAN in result['figures'] else 'AUC'


def _value(figure: dict[str, Any]) -> str:
    return f'{figure["value"]:.3f}'


def _interval(figure: dict[str, Any]) -> str:
    return '' if figure['lower'] is None else f'{figure["lower"]:.3f} – {figure["upper"]:.3f}'


def _value_and_interval(figure: dict[str, Any] | None) -> str:
    return (
        '–'
        if figure is None or figure['value'] is None
        else f'{_value(figure)} ({_interval(figure)})'
    )


def _markdown(rows: Sequence[Sequence[str]], left: int) -> str:
    header, *body = rows
    line = ['---'] * left + ['---:'] * (len(header) - left)
    return ''.join(f'| {" | ".join(row)} |\n' for row in (header, line, *body))


def main() -> None:
    """Writes the pages."""
    results = load()
    for path in PAGES:
        path.write_text(updated(path.read_text(encoding='utf-8'), results), encoding='utf-8')


if __name__ == '__main__':
    main()
