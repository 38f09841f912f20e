"""Runs Orthanc as the archive, from the programs of the system, to fill, stop and start it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from serving.pacs.settings import Tls

TITLE = 'ORTHANC'
_PROGRAMS = ('Orthanc', 'storescu', 'dsrdump', 'dciodvfy')
_DICOM_WEB = Path('/usr/share/orthanc/plugins/libOrthancDicomWeb.so')
_START_S = 120.0


class MissingError(RuntimeError):
    """A program is not installed; the text says what to install."""


def check() -> None:
    """Checks that Orthanc and the tools of DICOM are installed.

    Raises:
      MissingError: they are not.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing or not _DICOM_WEB.exists():
        raise MissingError(
            f'needs {", ".join(missing) or "the DICOMweb plugin of Orthanc"} (Debian: the packages '
            'orthanc, orthanc-dicomweb, dcmtk and dicom3tools)'
        )


class Archive:
    """An Orthanc with an empty store.

    Args:
      folder: for its files.
      gateway: title and port of the gateway that it knows; None for none.
      tls: of its DICOM associations; None for none.
    """

    def __init__(
        self, folder: Path, gateway: tuple[str, int] | None = None, tls: Tls | None = None
    ):
        self.folder = folder
        self.dicom_port, self._http_port = free_ports(2)
        self.url = f'http://127.0.0.1:{self._http_port}'
        self._process: subprocess.Popen | None = None
        self._modalities: dict[str, Any] = {}
        self._tls: dict[str, Any] = {}
        if gateway:
            self._modalities['gateway'] = {
                'AET': gateway[0],
                'Host': '127.0.0.1',
                'Port': gateway[1],
                'UseDicomTls': tls is not None,
            }
        if tls:
            self._tls = {
                'DicomTlsEnabled': True,
                'DicomTlsCertificate': str(tls.certificate),
                'DicomTlsPrivateKey': str(tls.key),
                'DicomTlsTrustedCertificates': str(tls.authorities),
            }
        self.start()

    @property
    def dicom_url(self) -> str:
        """As a target of reports."""
        return f'dicom{"s" if self._tls else ""}://{TITLE}@127.0.0.1:{self.dicom_port}'

    @property
    def web_url(self) -> str:
        """Its DICOMweb service."""
        return f'{self.url}/dicom-web'

    def start(self) -> None:
        """Starts it with the files that it has."""
        settings = {
            'Name': 'archive',
            'StorageDirectory': str(self.folder / 'store'),
            'IndexDirectory': str(self.folder / 'store'),
            'Plugins': [str(_DICOM_WEB)],
            'HttpPort': self._http_port,
            'DicomPort': self.dicom_port,
            'DicomAet': TITLE,
            'DicomAlwaysAllowStore': True,
            'DicomAlwaysAllowFind': True,
            'DicomAlwaysAllowMove': True,
            'AuthenticationEnabled': False,
            'RemoteAccessAllowed': False,
            'DicomModalities': self._modalities,
            **self._tls,
            'DicomWeb': {'Enable': True, 'Root': '/dicom-web/'},
        }
        (self.folder / 'orthanc.json').write_text(json.dumps(settings))
        with (self.folder / 'orthanc.log').open('ab') as log:
            self._process = subprocess.Popen(
                ['Orthanc', str(self.folder / 'orthanc.json')], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(requests.RequestException):
                requests.get(f'{self.url}/system', timeout=5).raise_for_status()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / 'orthanc.log').read_text(errors='replace'))
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it; its files stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def get(self, path: str) -> Any:
        """What its own API answers."""
        answer = requests.get(self.url + path, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        """What its own API answers to JSON."""
        answer = requests.post(self.url + path, json=body, timeout=120)
        answer.raise_for_status()
        return answer.json()

    def reports(self) -> list[dict[str, Any]]:
        """The structured reports in it, found by QIDO-RS."""
        answer = requests.get(
            f'{self.web_url}/instances',
            {'Modality': 'SR', 'includefield': 'StudyInstanceUID'},
            headers={'Accept': 'application/dicom+json'},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else []

    def file(self, instance: str) -> bytes:
        """The DICOM file of a SOP Instance UID."""
        (found,) = requests.post(f'{self.url}/tools/lookup', instance, timeout=60).json()
        answer = requests.get(f'{self.url}{found["Path"]}/file', timeout=60)
        answer.raise_for_status()
        return answer.content


@contextlib.contextmanager
def running(gateway: tuple[str, int] | None = None, tls: Tls | None = None) -> Iterator[Archive]:
    """An archive in a temporary folder.

    Raises:
      MissingError: Orthanc is not installed.
    """
    check()
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder), gateway, tls)
        try:
            yield archive
        finally:
            archive.stop()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for made in sockets:
            made.bind(('127.0.0.1', 0))
        return [made.getsockname()[1] for made in sockets]
