"""A value with its interval, and how both are written."""

from __future__ import annotations

import dataclasses

NOT_DEFINED = 'not defined'


@dataclasses.dataclass(frozen=True)
class Figure:
    """A value and the ends of its interval; None where one is not defined.

    An AUC is not defined with a single class, for example.

    >>> Figure(0.8125, 0.75, 0.875).text()
    '0.812 (0.750 – 0.875)'
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None

    def text(self, digits: int = 3) -> str:
        """The value with its interval, if it has one."""
        interval = self.interval(digits)
        return f'{self.value_text(digits)} ({interval})' if interval else self.value_text(digits)

    def value_text(self, digits: int = 3) -> str:
        """The value alone."""
        return NOT_DEFINED if self.value is None else f'{self.value:.{digits}f}'

    def interval(self, digits: int = 3) -> str:
        """The ends of the interval; '' without an interval."""
        if self.value is None or self.lower is None or self.upper is None:
            return ''
        return f'{self.lower:.{digits}f} – {self.upper:.{digits}f}'
