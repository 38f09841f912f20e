"""Decides whether a run is needed: what has changed since the last run that ended by itself."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from pipeline import run_inputs
from pipeline.run_record import NOT_BLESSED, PUSHED, SERVED, RunRecord

# A run that was not blessed is not repeated either: the same inputs give the same model.
_FINISHED = (PUSHED, SERVED, NOT_BLESSED)
_SHOWN_KEYS = 5
_MISSING = object()


class AlarmError(ValueError):
    """A file that is not the result of `cxr-triage monitor`; the text says what was expected."""


@dataclasses.dataclass(frozen=True)
class Alarm:
    """The last check of `cxr-triage monitor`.

    Attributes:
      path: its file.
      is_alarm: whether it alarmed.
      at: when, with a time zone.
      version: the checked version of the model.
    """

    path: Path
    is_alarm: bool
    at: datetime.datetime
    version: int


def read_alarm(path: Path) -> Alarm:
    """Reads monitor.json.

    Raises:
      AlarmError: it cannot be read, or is not such a file.
    """
    expected = 'give the monitor.json that `cxr-triage monitor` writes'
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        at = datetime.datetime.fromisoformat(content['at'])
        if at.tzinfo is None:
            raise ValueError(f'{content["at"]} has no time zone')
        return Alarm(path, bool(content['alarm']), at, int(content['version']))
    except OSError as error:
        raise AlarmError(f'--alarm {path}: {error.strerror}; {expected}') from None
    except (ValueError, KeyError, TypeError) as error:
        raise AlarmError(f'--alarm {path}: {type(error).__name__} {error}; {expected}') from None


def last_finished(records: dict[str, RunRecord], pipeline: str) -> RunRecord | None:
    """The latest run of `pipeline` that ended with a model, pushed or not; None without one."""
    finished = [
        record
        for record in records.values()
        if record.pipeline == pipeline and record.state in _FINISHED
    ]
    return max(finished, key=lambda record: record.started, default=None)


def reasons(
    inputs: dict[str, str],
    settings: dict[str, Any],
    last: RunRecord | None,
    *,
    now: datetime.datetime,
    alarm: Alarm | None = None,
    max_age_days: float | None = None,
) -> list[str]:
    """Why a run is needed, in sentences; empty if it is not.

    Args:
      inputs: what it would depend on, see `run_inputs.read`.
      settings: its configuration, see `Config.settings`.
      last: the run to compare with, see `last_finished`.
      now: the time, with a time zone.
      alarm: the last check of the traffic. It counts if it came after the start of `last`, and is
        not about a version older than the one that `last` pushed.
      max_age_days: the age of `last` from which on a run is needed.
    """
    if last is None:
        return ['no run has ended with a model yet']
    if not last.inputs:
        return [f'the run of {_day(last)} did not record what it depends on']
    return [
        *_changed_inputs(inputs, last.inputs),
        *_changed_settings(settings, last.settings),
        *_outside(last, now, alarm, max_age_days),
    ]


def _changed_inputs(inputs: dict[str, str], before: dict[str, str]) -> list[str]:
    found = []
    spans = _spans(inputs) - _spans(before)
    if spans:
        names = ', '.join(map(str, sorted(spans)))
        found.append(f'new span{"s" if len(spans) > 1 else ""}: {names}')
    elif inputs[run_inputs.DATA] != before.get(run_inputs.DATA):
        found.append(
            f'the data changed: {_files(before.get(run_inputs.DATA, ""))} before, '
            f'{_files(inputs[run_inputs.DATA])} now'
        )
    for name, text in (
        (run_inputs.CODE, 'the code changed'),
        (run_inputs.WEIGHTS, 'the ImageNet weights changed'),
        (run_inputs.EXPERTS, 'the table of expert labels changed'),
    ):
        if inputs[name] != before.get(name):
            found.append(text)
    return found


def _changed_settings(settings: dict[str, Any], before: dict[str, Any]) -> list[str]:
    now, then = _flat(settings), _flat(before)
    keys = sorted(key for key in {*now, *then} if now.get(key, _MISSING) != then.get(key, _MISSING))
    if not keys:
        return []
    more = f' and {len(keys) - _SHOWN_KEYS} more' if len(keys) > _SHOWN_KEYS else ''
    return [f'the configuration changed: {", ".join(keys[:_SHOWN_KEYS])}{more}']


def _outside(
    last: RunRecord, now: datetime.datetime, alarm: Alarm | None, max_age_days: float | None
) -> list[str]:
    found = []
    started = datetime.datetime.fromisoformat(last.started).astimezone()
    # The run answered the alarms about the versions that its own replaces.
    answered = int(last.version or 0)
    if alarm and alarm.is_alarm and alarm.at > started and alarm.version >= answered:
        found.append(f'version {alarm.version} has an alarm of {alarm.at:%Y-%m-%d %H:%M} UTC')
    if max_age_days is not None:
        age = (now - started) / datetime.timedelta(days=1)
        if age > max_age_days:
            found.append(f'the last run is {age:.1f} days old, more than {max_age_days:g}')
    return found


def _spans(inputs: dict[str, str]) -> set[int]:
    return {int(number) for number in inputs.get(run_inputs.SPANS, '').split(',') if number}


def _files(fingerprint: str) -> str:
    parts = fingerprint.split('-')
    return f'{parts[0]} files of {int(parts[2]):,} bytes' if len(parts) == 5 else 'other files'


def _flat(settings: Any, prefix: str = '') -> dict[str, Any]:
    """Settings by their full keys, e.g. `train.epochs`."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f'{prefix}.{key}' if prefix else str(key))
    return flat


def _day(record: RunRecord) -> str:
    return record.started.replace('T', ' ').partition('.')[0]
