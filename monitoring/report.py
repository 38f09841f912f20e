"""Writes the result of a check: JSON, one HTML page, and metrics for Prometheus."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from components.evaluator import registry
from components.evaluator.figure import Figure
from monitoring import late_labels, two_sample
from monitoring.checks import Check, SiteCheck, history
from monitoring.sample import FLAG, NOT_ASSESSED, SHARES
from monitoring.two_sample import Difference
from schemas import not_assessed
from serving.sites import shown

PAGE, JSON, METRICS = 'index.html', 'monitor.json', 'monitor.prom'
_TEMPLATE = Path(__file__).with_name('page.html')
_TITLES = {
    late_labels.AGREEMENT: 'Agreement with the flag',
    late_labels.KAPPA: 'Cohen’s kappa with the flag',
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


def lines(check: Check) -> list[str]:
    """What a terminal shows: a line for each comparison, and for each site that has none."""
    result = []
    has_names = _has_names(check)
    for site in check.sites:
        where = f'site {shown(site.window.site)}, ' if has_names else ''
        for compared in site.compared:
            names = [two_sample.TITLES.get(item.name, item.name) for item in compared.alarms]
            text = f'{where}{compared.name}: p = {compared.result.p_value:.4f}'
            result.append(f'{text}, alarm: {"; ".join(names)}' if names else text)
        if not site.compared and not check.accepted_by:
            result.append(f'{where}too few studies since the accepted window')
    for name, count in check.too_few.items():
        result.append(f'site {shown(name)}: {count} studies, too few')
    return result


def as_json(check: Check) -> dict[str, Any]:
    """Everything but the images; NaN becomes None."""
    content: dict[str, Any] = dict(vars(check))
    content['sites'] = [_site_as_json(site) for site in check.sites]
    content['read_shares'] = {
        'flagged' if flag else 'not_flagged': {'read': read, 'studies': studies}
        for flag, (read, studies) in check.read_shares.items()
    }
    content['alarm'] = check.is_alarm
    return _plain(content)


def _site_as_json(site: SiteCheck) -> dict[str, Any]:
    window = {name: value for name, value in vars(site.window).items() if name not in _IMAGES}
    window['image_count'] = len(site.window.images)
    window['reasons'] = site.window.reasons()
    return {**vars(site), 'site': site.window.site, 'window': window, 'alarm': site.is_alarm}


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
    return {
        'check': check,
        'sites': [_site_context(site) for site in check.sites],
        'has_names': _has_names(check),
        'shown': shown,
        'metrics': [
            (name, _TITLES.get(name) or registry.title(name))
            for name in (*late_labels.METRICS, late_labels.AGREEMENT, late_labels.KAPPA)
        ],
        'history': list(reversed(history(folder)[-_EARLIER:])),
    }


def _has_names(check: Check) -> bool:
    """Whether there are sites but the one without a name."""
    return len(check.sites) + len(check.too_few) > 1 or bool(check.sites[0].window.site)


def _site_context(site: SiteCheck) -> dict[str, Any]:
    estimate, window = site.estimate, site.window
    return {
        'name': shown(window.site),
        'window': window,
        'is_alarm': site.is_alarm,
        'compared': [
            (
                item.name,
                item.result,
                [_row(row, row in item.alarms) for row in item.result.differences],
            )
            for item in site.compared
        ],
        'alarms': [
            (item.name, [two_sample.TITLES.get(row.name, row.name) for row in item.alarms])
            for item in site.compared
            if item.alarms
        ],
        'reasons': [
            (not_assessed.SENTENCES.get(reason, reason), count)
            for reason, count in window.reasons().items()
        ],
        'prevalence': f'{estimate.reference:.1%}' if estimate else '',
        'estimates': [
            ('Prevalence, from the flags', _percent(estimate.by_flags)),
            ('Prevalence, from the probabilities', _percent(estimate.by_probabilities)),
            ('Sensitivity that follows', _percent(estimate.sensitivity)),
            ('Specificity that follows', _percent(estimate.specificity)),
            ('Positive predictive value that follows', _percent(estimate.precision)),
        ]
        if estimate
        else [],
    }


def _row(item: Difference, is_alarm: bool) -> tuple[str, str, str, str, str, bool]:
    there, here = (
        '' if math.isnan(value) else f'{value:.1%}' if item.name in SHARES else f'{value:.3g}'
        for value in (item.reference, item.window)
    )
    title = two_sample.TITLES.get(item.name, item.name)
    return title, there, here, f'{item.distance:.3f}', f'{item.p_value:.4f}', is_alarm


def _percent(figure: Figure) -> str:
    if figure.value is None:
        return figure.text()
    text = f'{figure.value:.1%}'
    if figure.lower is None or figure.upper is None:
        return text
    return f'{text} ({figure.lower:.1%} – {figure.upper:.1%})'


def _metrics(check: Check) -> CollectorRegistry:
    result = CollectorRegistry()
    version = str(check.version)

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f'cxr_monitor_{name}', text, ('version', *labels), registry=result)

    gauge('time_seconds', 'When the last check ended, Unix time').labels(version).set(
        check.at.timestamp()
    )
    alarm = gauge('alarm', '1 if the last check alarms at a site', 'site')
    count = gauge('studies', 'Studies of the window of a site', 'site')
    shares = gauge('share', 'Share of the images of the window', 'site', 'what')
    p_values = gauge('p_value', 'p-value of the window against a reference', 'site', 'reference')
    estimates = gauge('estimate', 'Estimated without labels', 'site', 'what', 'end')
    for site in check.sites:
        name, columns = site.window.site, site.window.sample.columns
        alarm.labels(version, name).set(site.is_alarm)
        count.labels(version, name).set(site.window.studies)
        for what in (NOT_ASSESSED, FLAG):
            known = columns[what][np.isfinite(columns[what])]
            if len(known):
                shares.labels(version, name, what).set(float(known.mean()))
        for compared in site.compared:
            p_values.labels(version, name, compared.name).set(compared.result.p_value)
        if site.estimate:
            rows = {
                'prevalence_by_flags': site.estimate.by_flags,
                'prevalence_by_probabilities': site.estimate.by_probabilities,
                'sensitivity': site.estimate.sensitivity,
                'specificity': site.estimate.specificity,
            }
            _set(estimates, (version, name), rows)
    _set(gauge('test', 'On the test images', 'what', 'end'), (version,), check.tested)
    if check.table and check.table.labels:
        of_table = gauge('measured_with_table', 'Measured with a table', 'what', 'end')
        _set(of_table, (version,), check.table.labels.periods[0].figures)
    measured = gauge('measured', 'Measured with readings', 'what', 'end')
    at_site = gauge('measured_at_site', 'Measured with readings at a site', 'site', 'what', 'end')
    for period in check.labels.periods if check.labels else ():
        if period.name == late_labels.ALL:
            _set(measured, (version,), period.figures)
        elif period.site is not None:
            _set(at_site, (version, period.site), period.figures)
    return result


def _set(gauge: Gauge, labels: tuple[str, ...], figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        for end in ('value', 'lower', 'upper'):
            value = getattr(figure, end)
            if value is not None:
                gauge.labels(*labels, name, end).set(value)


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f'{path.name}.new')
    unfinished.write_text(text, encoding='utf-8')
    unfinished.replace(path)
