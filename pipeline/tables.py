"""The style of tables on the screen."""

from __future__ import annotations

from rich.table import Table


def plain_table(*headings: str) -> Table:
    """A table without lines; a heading that starts with `>` makes its column right-aligned."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading.removeprefix('>'), justify='right' if heading.startswith('>') else 'left'
        )
    return table
