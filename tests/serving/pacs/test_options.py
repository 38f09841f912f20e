"""Options of `cxr-triage serve` for the exchange with an archive."""

from __future__ import annotations

import argparse

import pytest

from cli import pacs_options
from serving.pacs.settings import PacsSettings, Peer


def _settings(*options: str, is_local: bool = True) -> PacsSettings:
    parser = argparse.ArgumentParser()
    parser.add_argument('--host', default='127.0.0.1' if is_local else '0.0.0.0')
    parser.add_argument('--retention-days', type=int, default=0)
    pacs_options.add_arguments(parser)
    return pacs_options.settings(parser.parse_args(options), is_local)


def test_without_options_nothing_is_received_or_sent() -> None:
    settings = _settings()
    assert (settings.port, settings.targets, settings.commits) == (None, (), False)


def test_peers_and_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CXR_REPORT_TO', 'dicom://A@a:1 https://u:p@b/dicom-web')
    options = ('--dicom-port', '104', '--dicom-peer', 'ROOM1@10.0.0.7')
    settings = _settings(*options, is_local=False)
    assert settings.peers == (Peer('ROOM1', '10.0.0.7'),)
    assert [target.name for target in settings.targets] == ['dicom://A@a:1', 'https://b/dicom-web']
    assert _settings('--retention-days', '30', '--report-days', '7').report_days == 7
    named = _settings('--report-to', 'dicom://C@c:2')
    assert [target.name for target in named.targets] == ['dicom://C@c:2']


def test_senders_have_sites() -> None:
    options = ('--dicom-site', 'ROOM1=North wing', '--dicom-site', 'ROOM2=a=b')
    settings = _settings('--dicom-port', '104', *options)
    assert settings.sites == {'ROOM1': 'North wing', 'ROOM2': 'a=b'}


@pytest.mark.parametrize(
    ('options', 'is_local', 'message'),
    [
        (['--dicom-port', '104'], False, 'say with --dicom-peer who may send images'),
        (['--report-after', '-1'], True, 'expected 0 or more'),
        (['--report-days', '-1'], True, 'expected 0 or more'),
        (['--report-days', '7'], True, 'only with --retention-days'),
        (['--report-to', 'dicoms://A@a:1'], True, 'needs --dicom-tls'),
        (['--ae-title', 'A\\B'], True, 'expected TITLE'),
        (['--dicom-tls', 'a', 'b', 'c'], True, 'TLS with a, b, c'),
        (['--dicom-site', 'ROOM1'], True, 'ROOM1: expected TITLE=SITE'),
        (['--dicom-site', 'ROOM1='], True, 'ROOM1=: expected TITLE=SITE'),
        (['--dicom-site', f'ROOM1={"s" * 65}'], True, 'at most 64 printable characters'),
        (['--dicom-site', 'ROOM1=A'], True, 'only with --dicom-port'),
        (
            ['--dicom-port', '1', '--dicom-site', 'ROOM1=A', '--dicom-site', 'ROOM1=B'],
            True,
            'ROOM1 has a site already',
        ),
        (
            ['--dicom-port', '1', '--dicom-peer', 'ROOM2', '--dicom-site', 'ROOM1=A'],
            True,
            'ROOM1 is not one of --dicom-peer',
        ),
    ],
)
def test_what_does_not_fit_is_refused(options: list[str], is_local: bool, message: str) -> None:
    with pytest.raises(pacs_options.SettingError, match=message):
        _settings(*options, is_local=is_local)
