"""The table of contents of a page, from its headings."""

from __future__ import annotations

from html.parser import HTMLParser

# With fewer headings, a reader sees them all without a table of contents.
_FEWEST = 3


def contents(html: str) -> list[tuple[str, str]]:
    """(id, title) of each `<h2>` that has an id; empty for a page with few headings.

    Args:
      html: the content of a page.

    Example:
        >>> contents('<h2 id="a">A</h2><h2 id="b">B &amp; <i>b</i></h2><h2 id="c">C</h2>')
        [('a', 'A'), ('b', 'B & b'), ('c', 'C')]
    """
    parser = _Headings()
    parser.feed(html)
    headings = [(name, ' '.join(title.split())) for name, title in parser.headings]
    return headings if len(headings) >= _FEWEST else []


class _Headings(HTMLParser):
    """Collects the headings with an id."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[tuple[str, str]] = []
        self._is_open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins a heading."""
        name = dict(attrs).get('id')
        if tag == 'h2' and name:
            self.headings.append((name, ''))
            self._is_open = True

    def handle_endtag(self, tag: str) -> None:
        """Ends a heading."""
        self._is_open = self._is_open and tag != 'h2'

    def handle_data(self, data: str) -> None:
        """Adds text to an open heading."""
        if self._is_open:
            name, title = self.headings[-1]
            self.headings[-1] = (name, title + data)
