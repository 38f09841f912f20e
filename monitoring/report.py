"""Writes the result of a check: JSON, one HTML page, and metrics for Prometheus."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jinja2
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from components.evaluator import registry
from components.evaluator.figure import Figure
from monitoring import late_labels, two_sample
from monitoring.checks import Check, history
from monitoring.sample import FLAG, NOT_ASSESSED, SHARES
from monitoring.two_sample import Difference
from schemas import not_assessed

PAGE, JSON, METRICS = 'index.html', 'monitor.json', 'monitor.prom'
_TEMPLATE = Path(__file__).with_name('page.html')
_TITLES = {
    late_labels.AGREEMENT: 'Agreement of flag and reader',
    late_labels.KAPPA: 'Cohen’s kappa of flag and reader',
}
_EARLIER = 20
# Of a window; too much for JSON.
_IMAGES = ('images', 'sample')


def write(folder: Path, check: Check) -> None:
    """Writes PAGE, JSON and METRICS; each replaces the earlier one at once."""
    folder.mkdir(parents=True, exist_ok=True)
    page = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(_TEMPLATE.read_text(encoding='utf-8'))
    _replace(folder / PAGE, page.render(**_context(folder, check)))
    _replace(folder / JSON, json.dumps(as_json(check), indent=1, allow_nan=False) + '\n')
    write_to_textfile(str(folder / METRICS), _metrics(check))


def as_json(check: Check) -> dict[str, Any]:
    """Everything but the images; NaN becomes None."""
    content: dict[str, Any] = dict(vars(check))
    content['window'] = {
        name: value for name, value in vars(check.window).items() if name not in _IMAGES
    }
    content['window']['image_count'] = len(check.window.images)
    content['window']['reasons'] = check.window.reasons()
    content['read_shares'] = {
        'flagged' if flag else 'not_flagged': {'read': read, 'studies': studies}
        for flag, (read, studies) in check.read_shares.items()
    }
    content['alarm'] = check.is_alarm
    return _plain(content)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if hasattr(value, 'isoformat') else value


def _context(folder: Path, check: Check) -> dict[str, Any]:
    estimate = check.estimate
    return {
        'check': check,
        'compared': [
            (
                item.name,
                item.result,
                [_row(row, row in item.alarms) for row in item.result.differences],
            )
            for item in check.compared
        ],
        'alarms': [
            (item.name, [two_sample.TITLES.get(row.name, row.name) for row in item.alarms])
            for item in check.compared
            if item.alarms
        ],
        'reasons': [
            (not_assessed.SENTENCES.get(reason, reason), count)
            for reason, count in check.window.reasons().items()
        ],
        'estimates': [
            ('Prevalence, from the flags', _percent(estimate.by_flags)),
            ('Prevalence, from the probabilities', _percent(estimate.by_probabilities)),
            ('Sensitivity that follows', _percent(estimate.sensitivity)),
            ('Specificity that follows', _percent(estimate.specificity)),
            ('Positive predictive value that follows', _percent(estimate.precision)),
        ]
        if estimate
        else [],
        'metrics': [
            (name, _TITLES.get(name) or registry.title(name))
            for name in (*late_labels.METRICS, late_labels.AGREEMENT, late_labels.KAPPA)
        ],
        'history': list(reversed(history(folder)[-_EARLIER:])),
        'titles': two_sample.TITLES,
    }


def _row(item: Difference, is_alarm: bool) -> tuple[str, str, str, str, str, bool]:
    values = (
        '' if math.isnan(value) else f'{value:.1%}' if item.name in SHARES else f'{value:.3g}'
        for value in (item.reference, item.window)
    )
    title = two_sample.TITLES.get(item.name, item.name)
    return (title, *values, f'{item.distance:.3f}', f'{item.p_value:.4f}', is_alarm)  # type: ignore[return-value]


def _percent(figure: Figure) -> str:
    if figure.value is None:
        return figure.text()
    text = f'{figure.value:.1%}'
    if figure.lower is None or figure.upper is None:
        return text
    return f'{text} ({figure.lower:.1%} – {figure.upper:.1%})'


def _metrics(check: Check) -> CollectorRegistry:
    result = CollectorRegistry()
    version = str(check.window.version)

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f'cxr_monitor_{name}', text, ('version', *labels), registry=result)

    columns = check.window.sample.columns
    gauge('time_seconds', 'When the last check ended, Unix time').labels(version).set(
        check.at.timestamp()
    )
    gauge('alarm', '1 if the last check alarms').labels(version).set(check.is_alarm)
    gauge('studies', 'Studies of the window').labels(version).set(check.window.studies)
    shares = gauge('share', 'Share of the images of the window', 'what')
    for name in (NOT_ASSESSED, FLAG):
        known = columns[name][~_isnan(columns[name])]
        if len(known):
            shares.labels(version, name).set(float(known.mean()))
    p_values = gauge('p_value', 'p-value of the window against a reference', 'reference')
    for compared in check.compared:
        p_values.labels(version, compared.name).set(compared.result.p_value)
    estimates = gauge('estimate', 'Estimated without labels', 'what', 'end')
    rows: dict[str, Figure] = {}
    if check.estimate:
        rows = {
            'prevalence_by_flags': check.estimate.by_flags,
            'prevalence_by_probabilities': check.estimate.by_probabilities,
            'sensitivity': check.estimate.sensitivity,
            'specificity': check.estimate.specificity,
        }
    _set(estimates, version, rows)
    _set(gauge('test', 'On the test images', 'what', 'end'), version, check.tested)
    measured = gauge('measured', 'Measured with readings', 'what', 'end')
    if check.labels:
        _set(measured, version, check.labels.periods[0].figures)
    return result


def _set(gauge: Gauge, version: str, figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        for end in ('value', 'lower', 'upper'):
            value = getattr(figure, end)
            if value is not None:
                gauge.labels(version, name, end).set(value)


def _isnan(values: Any) -> Any:
    return values != values  # noqa: PLR0124


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f'{path.name}.new')
    unfinished.write_text(text, encoding='utf-8')
    unfinished.replace(path)
