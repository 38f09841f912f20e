"""A value with its interval, and how both are written."""

from __future__ import annotations

import dataclasses

NOT_DEFINED = 'not defined'


@dataclasses.dataclass(frozen=True)
class Figure:
    """A value and the ends of its interval; None where one is not defined, with the reason.

    >>> Figure(0.8125, 0.75, 0.875).text()
    '0.812 (0.750 – 0.875)'
    >>> Figure(None, reason='no image is negative').text()
    'not defined: no image is negative'
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None
    reason: str = dataclasses.field(default='', kw_only=True)

    def text(self, digits: int = 3) -> str:
        """The value with its interval, if it has one; or why it is not defined."""
        interval = self.interval(digits)
        if self.value is None and self.reason:
            return f'{NOT_DEFINED}: {self.reason}'
        return f'{self.value_text(digits)} ({interval})' if interval else self.value_text(digits)

    def value_text(self, digits: int = 3) -> str:
        """The value alone."""
        return NOT_DEFINED if self.value is None else f'{self.value:.{digits}f}'

    def interval(self, digits: int = 3) -> str:
        """The ends of the interval; '' without an interval."""
        if self.value is None or self.lower is None or self.upper is None:
            return ''
        return f'{self.lower:.{digits}f} – {self.upper:.{digits}f}'

    def signed_text(self, digits: int = 3) -> str:
        """The text of a figure that is a difference: with a sign."""
        if self.value is None:
            return NOT_DEFINED
        interval = self.interval(digits)
        return f'{self.value:+.{digits}f}' + (f' ({interval})' if interval else '')
