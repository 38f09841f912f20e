"""The alert rules: their own tests pass, miss no alert, and use figures that a gateway reports."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.gateway.metrics import Metrics

ALERTS = Path(__file__).resolve().parents[2] / 'kubeflow' / 'alerts'
FILES = ('gateway', 'monitor')


def _rules(file: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((ALERTS / f'{file}.yaml').read_text())
    return [rule for group in content['groups'] for rule in group['rules']]


def _names(file: str) -> list[str]:
    return [rule['alert'] for rule in _rules(file) if 'alert' in rule]


def _promtool(*arguments: str, folder: Path = ALERTS) -> subprocess.CompletedProcess:
    if shutil.which('promtool') is None:
        pytest.skip('needs promtool (Debian: the package prometheus)')
    command = ['promtool', *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize('file', FILES)
def test_the_rules_are_valid_and_their_tests_pass(file: str) -> None:
    result = _promtool('check', 'rules', '--lint=all', '--lint-fatal', f'{file}.yaml')
    assert result.returncode == 0, result.stdout + result.stderr
    result = _promtool('test', 'rules', f'{file}_test.yaml')
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize('file', FILES)
@pytest.mark.parametrize('expression', ['vector(1) > 0', 'vector(1) < 0'], ids=['always', 'never'])
def test_each_alert_that_fires_always_or_never_fails_the_tests(
    expression: str, file: str, tmp_path: Path
) -> None:
    shutil.copytree(ALERTS, tmp_path, dirs_exist_ok=True)
    rules: dict[str, Any] = yaml.safe_load((ALERTS / f'{file}.yaml').read_text())
    for group in rules['groups']:
        for rule in group['rules']:
            if 'alert' in rule:
                rule['expr'] = expression
    (tmp_path / f'{file}.yaml').write_text(yaml.safe_dump(rules))
    result = _promtool('test', 'rules', f'{file}_test.yaml', folder=tmp_path)
    assert result.returncode != 0
    failed = set(re.findall(r'alertname:\s*(\w+), time', result.stdout + result.stderr))
    assert failed == set(_names(file))


def test_the_rules_use_figures_and_labels_that_a_gateway_reports() -> None:
    metrics = Metrics()
    metrics.count({'method': 'GET'}, 200, 0.1)
    metrics.answers.labels(7, 'true', 'true').set(1)
    metrics.flagged_share_bound.labels(7, 'highest').set(1)
    metrics.studies.labels('pending').set(1)
    metrics.reports.labels('given_up').set(1)
    metrics.traffic.studies.labels(7, 'North', 'flagged').set(1)
    names, reported = set(), set()
    for family in metrics.registry.collect():
        for sample in family.samples:
            names.add(sample.name)
            reported |= set(sample.labels)
    expressions = ' '.join(rule['expr'] for rule in _rules('gateway'))
    assert set(re.findall(r'\bcxr_(?!triage:)[a-z_]+', expressions)) <= names
    assert set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', expressions)) <= reported


@pytest.mark.parametrize('file', FILES)
def test_every_alert_says_what_to_do(file: str) -> None:
    alerts = [rule for rule in _rules(file) if 'alert' in rule]
    assert len(alerts) == len(set(_names(file))) >= 3
    for alert in alerts:
        assert set(alert['annotations']) == {'summary', 'action'}, alert['alert']
        assert alert['labels']['severity'] in ('critical', 'warning')
