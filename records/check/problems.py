"""One problem that `check` reports."""

from __future__ import annotations

from dataclasses import dataclass

from records.problems import ERROR, PROBLEMS


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
      kind: a name of `records.problems.PROBLEMS`.
      what: the details.
      file: name in the data root; '' where no single file is to blame.
      record: number in the file, from 0.
      offset: place in the file in bytes, after unzipping.
      key: the image or label.
      severity: as a rule that of the kind.
    """

    kind: str
    what: str
    file: str = ''
    record: int | None = None
    offset: int | None = None
    key: str = ''
    severity: str = ''

    def __post_init__(self) -> None:
        if not self.severity:
            object.__setattr__(self, 'severity', PROBLEMS[self.kind].severity)

    @property
    def is_error(self) -> bool:
        """Whether it makes the data root unclean."""
        return self.severity == ERROR

    def as_dict(self) -> dict[str, object]:
        """The problem with what to do about it, for the JSON report."""
        return {
            'kind': self.kind,
            'severity': self.severity,
            'file': self.file,
            'record': self.record,
            'offset': self.offset,
            'key': self.key,
            'what': self.what,
            'do': PROBLEMS[self.kind].remedy,
        }
