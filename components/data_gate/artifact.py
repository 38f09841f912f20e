"""The artifact type of DataGate: a folder with `gate.json`."""

from __future__ import annotations

from collections.abc import Mapping

from tfx.types.artifact import Artifact

GATE_JSON = 'gate.json'


class DataBlessing(Artifact):
    """The verdict on the data, rule by rule.

    `components.data_gate.rules` describes the layout of `gate.json`. The custom property `blessed`
    is 1 if no rule failed, else 0.
    """

    TYPE_NAME = 'components.DataBlessing'


def counts_text(counts: Mapping[str, int]) -> str:
    """The counts of a verdict as text.

    Args:
      counts: verdict (`failed`, `warning`, `passed`, `unlimited`) -> number of rules; a rule
        without a limit has met none.

    >>> counts_text({'failed': 0, 'warning': 1, 'passed': 14})
    '14 limits met, 1 warning'
    """
    warnings = f'{counts["warning"]} warning{"" if counts["warning"] == 1 else "s"}'
    failed = f', {counts["failed"]} failed' if counts['failed'] else ''
    return f'{counts["passed"]} limits met, {warnings}{failed}'
