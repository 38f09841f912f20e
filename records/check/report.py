"""Prints the result of `check`."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from records.check.audit import Audit
from records.check.problems import Problem
from records.problems import ERROR, PROBLEMS, WARNING
from records.terminal import printable
from records.walking import format_counts
from schemas.labels import LABELS, OTHER

_MAX_FILES = 40
_MAX_PROBLEMS = 8
_COLOURS = {ERROR: 'red', WARNING: 'yellow'}


def show(audit: Audit, title: str, console: Console) -> None:
    """Prints the files, labels and problems of a data root."""
    console.print(_files(audit, title))
    console.print(_labels(audit))
    _print_sources(audit, console)
    by_kind = audit.by_kind()
    if by_kind:
        console.print(_summary(by_kind))
    for kind, problems in by_kind.items():
        if problems[0].is_error:
            console.print(_listing(kind, problems))
    if audit.errors:
        console.print(f'[bold red]Not clean:[/] {len(audit.errors):,} errors.')
    else:
        console.print(
            f'[bold green]Clean:[/] {audit.accepted:,} records of {len(audit.patients):,} patients.'
        )


def _files(audit: Audit, title: str) -> Table:
    table = Table(title=escape(title), title_justify='left')
    for name in ('file', 'expected', 'records', 'damaged', 'rejected'):
        table.add_column(name, justify='left' if name == 'file' else 'right')
    files = audit.files
    bad = [
        file
        for file in files
        if file.damaged or file.rejected or file.promised not in (None, file.records)
    ]
    listed = files if len(files) <= _MAX_FILES else bad[:_MAX_FILES]
    for file in listed:
        promised = '' if file.promised is None else f'{file.promised:,}'
        style = 'red' if file in bad else ''
        table.add_row(
            escape(file.name),
            promised,
            f'{file.records:,}',
            f'{file.damaged:,}',
            f'{file.rejected:,}',
            style=style,
        )
    if len(listed) < len(files):
        table.add_row(f'… {len(files) - len(listed):,} more', '', '', '', '', style='dim')
    table.add_section()
    total_promised = sum(file.promised or 0 for file in files)
    records, damaged, rejected = (
        sum(getattr(file, name) for file in files) for name in ('records', 'damaged', 'rejected')
    )
    table.add_row(
        f'{len(files):,} files',
        f'{total_promised:,}',
        f'{records:,}',
        f'{damaged:,}',
        f'{rejected:,}',
        style='bold',
    )
    return table


def _labels(audit: Audit) -> Table:
    table = Table('label', title='Labels', title_justify='left')
    table.add_column('records', justify='right')
    table.add_column('share', justify='right')
    for label in LABELS:
        table.add_row(
            label, f'{audit.labels[label]:,}', _share(audit.labels[label], audit.accepted)
        )
    if audit.other:
        table.add_row(OTHER, f'{audit.other:,}', _share(audit.other, audit.accepted))
    table.add_section()
    table.add_row(
        'abnormal', f'{audit.abnormal:,}', _share(audit.abnormal, audit.accepted), style='bold'
    )
    return table


def _print_sources(audit: Audit, console: Console) -> None:
    patients = ', '.join(
        f'{count:,} by {source}' for source, count in sorted(audit.patient_sources.items())
    )
    lines = [f'Patients: {len(audit.patients):,} (records by source: {patients or "none"})']
    if audit.metadata is not None:
        lines.append(
            f'Metadata table: {len(audit.metadata):,} rows, {audit.joined:,} of '
            f'{audit.accepted:,} records have one'
        )
        for name, counts in (('Age', audit.ages), ('Sex', audit.sexes), ('View', audit.views)):
            lines.append(
                f'{name}: '
                + ', '.join(f'{value} {count:,}' for value, count in sorted(counts.items()))
            )
        lines += [f'Metadata table: {problem}' for problem in audit.metadata.problems]
    if audit.listed:
        lines.append(
            'Official lists: '
            + ', '.join(f'{name} {count:,}' for name, count in audit.listed.items())
        )
    if audit.ignored:
        lines.append(f'Not read: {format_counts(audit.ignored)}')
    console.print('\n'.join(escape(printable(line)) for line in lines), highlight=False)


def _summary(by_kind: dict[str, list[Problem]]) -> Table:
    table = Table('', 'problem', title='Problems', title_justify='left')
    table.add_column('count', justify='right')
    table.add_column('first one')
    table.add_column('what to do')
    for kind, problems in by_kind.items():
        about, first = PROBLEMS[kind], problems[0]
        severity = f'[{_COLOURS[first.severity]}]{first.severity}[/]'
        title = f'{about.title}\n[dim]{kind}[/]'
        table.add_row(severity, title, f'{len(problems):,}', escape(first.what), about.remedy)
    return table


def _listing(kind: str, problems: list[Problem]) -> Table:
    table = Table(title=f'{PROBLEMS[kind].title} ({len(problems):,})', title_justify='left')
    table.add_column('file', overflow='fold')
    table.add_column('record', justify='right')
    table.add_column('byte', justify='right')
    table.add_column('image or label', overflow='fold')
    table.add_column('what', ratio=1)
    for problem in problems[:_MAX_PROBLEMS]:
        record = '' if problem.record is None else str(problem.record)
        offset = '' if problem.offset is None else f'{problem.offset:,}'
        table.add_row(
            escape(problem.file), record, offset, escape(problem.key), escape(problem.what)
        )
    if len(problems) > _MAX_PROBLEMS:
        table.add_row(
            f'… {len(problems) - _MAX_PROBLEMS:,} more',
            '',
            '',
            '',
            '--json FILE has all of them',
            style='dim',
        )
    return table


def _share(count: int, total: int) -> str:
    return f'{count / total:.1%}' if total else '–'
