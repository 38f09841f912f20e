"""The exchange with a real archive over TLS, in both directions."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

from benchmarks.serving import dicom_files
from cli.main import main
from serving.database import connection
from serving.pacs.settings import PacsSettings, Target
from tests.support import archives, certificates, gateways

pytestmark = pytest.mark.slow

_PATIENCE_S = 300.0


def test_an_archive_sends_images_and_takes_reports_over_tls(
    pushed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = certificates.own(tmp_path / 'tls')
    (port,) = archives.free_ports(1)
    with archives.running(('CXRTRIAGE', port), tls) as archive:
        pacs = PacsSettings(
            port=port, targets=(Target.parse(archive.dicom_url),), report_after_s=0.0, tls=tls
        )
        database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
        with (
            gateways.model_server('embedded', pushed, tmp_path) as address,
            gateways.running(tmp_path / 'data', database, pushed, address, pacs=pacs),
        ):
            image = dicom_files.image(tmp_path / 'image.dcm', gateways.pixels(1))
            requests.post(f'{archive.url}/instances', image.path.read_bytes(), timeout=60)
            files = [str(path) for path in (tls.certificate, tls.key, tls.authorities)]
            command = ['pull', archive.dicom_url, '--dates', '20260102']
            assert main([*command, '--dicom-tls', *files]) == 0
            assert f'{image.study}: 1 images' in capsys.readouterr().out
            deadline = time.monotonic() + _PATIENCE_S
            while not archive.reports():
                assert time.monotonic() < deadline
                time.sleep(0.2)
