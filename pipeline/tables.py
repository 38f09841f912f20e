"""The form of the tables on the screen."""

from __future__ import annotations

from rich.table import Table


def plain_table(*headings: str) -> Table:
    """A table without lines; a heading with `>` before it has its column set to the right."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading.removeprefix('>'), justify='right' if heading.startswith('>') else 'left'
        )
    return table
