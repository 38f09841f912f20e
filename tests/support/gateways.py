"""A gateway over real HTTP, the versions that it serves, and images to upload."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import requests
from PIL import Image

from components.pusher import target as push_target
from records import synth
from serving import studies
from serving.api.client import ModelServer
from serving.gateway.app import create_app
from serving.gateway.server import GatewayServer, listen
from serving.gateway.services import Services
from serving.gateway.settings import Limits, Settings
from serving.releases import config_file
from tests.support import model_servers, push_targets
from tests.support.model_servers import MODEL

# A port where nothing listens.
NO_MODEL_SERVER = '127.0.0.1:1'
SIDE = 256
_LIMITS = Limits()
# Identifies the patient of `dicom`.
PATIENT = {
    'PatientName': 'Zzyzx^Quentin',
    'PatientID': 'MRN-4711-0815',
    'PatientBirthDate': '19370203',
    'PatientAddress': 'Nightingale Lane 7',
    'InstitutionName': 'St. Elsewhere',
    'ReferringPhysicianName': 'Hibbert^Julius',
    'StudyDate': '20260102',
    'AccessionNumber': 'ACC-998877',
}


class Gateway:
    """A client of a gateway that runs in this process."""

    def __init__(self, url: str, services: Services):
        self.url, self.services = url, services
        self.http = requests.Session()

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends a request."""
        return self.http.request(method, self.url + path, timeout=60, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """Sends a GET."""
        return self.request('GET', path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Sends a POST."""
        return self.request('POST', path, **options)

    def upload(self, *contents: bytes, names: tuple[str, ...] = (), **options: Any) -> Any:
        """Uploads files as one study, and returns the response."""
        names = names or tuple(f'image{number}' for number in range(len(contents)))
        files = [('files', pair) for pair in zip(names, contents, strict=True)]
        return self.post('/v1/studies', files=files, **options)

    def body(self, path: str, **options: Any) -> Any:
        """The JSON body of a GET that succeeds."""
        return body(self.get(path, **options))

    def accepted(self, *contents: bytes, **options: Any) -> str:
        """Uploads files as one study, and returns its id."""
        return body(self.upload(*contents, **options), 202)['id']

    def scored(self, id: str, timeout_s: float = 60, **options: Any) -> dict[str, Any]:
        """A study once it is scored."""
        deadline = time.monotonic() + timeout_s
        while True:
            study = self.body(f'/v1/studies/{id}', **options)
            if study['state'] != 'pending':
                return study
            if time.monotonic() > deadline:
                raise TimeoutError(f'study {id} waits: {self.services.scorer.problem}')
            # A gateway answers twenty requests a second of a caller, for as long as one likes.
            time.sleep(0.05)


def body(response: requests.Response, status: int = 200) -> Any:
    """The JSON body of an answer, which must have a status."""
    assert response.status_code == status, (
        f'{response.url}: status {response.status_code}, expected {status}: {response.text}'
    )
    return response.json()


@contextlib.contextmanager
def running(
    folder: Path,
    database: str,
    target: Path,
    model_server: str = NO_MODEL_SERVER,
    limits: Limits = _LIMITS,
    **options: Any,
) -> Iterator[Gateway]:
    """A gateway on a free port; without tokens unless `requires_token` says so."""
    settings = Settings(
        target=str(target),
        model=MODEL,
        data=folder,
        database=database,
        limits=limits,
        **{'requires_token': False, **options},
    )
    services = Services(settings, ModelServer(model_server))
    server = GatewayServer(create_app(services), listen('127.0.0.1', 0), limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    gateway = Gateway(f'http://127.0.0.1:{server.port}', services)
    try:
        yield gateway
    finally:
        gateway.http.close()
        server.stop()
        thread.join()
        services.close()


def push_tiny_models(target: Path) -> None:
    """Pushes versions 1 and 2 of a small model, labelled stable and canary."""
    from tests.support import tiny_model

    for version in (1, 2):
        model = target.parent / f'model-{version}'
        tiny_model.export(model, seed=version)
        (model / 'assets.extra').mkdir()
        info = {'task': 'nih_triage', 'operating_point': {'threshold': tiny_model.THRESHOLD}}
        (model / 'assets.extra' / 'triage.json').write_text(json.dumps(info))
        push(model, target, version)
        shutil.rmtree(model)
    write_labels(target, {studies.STABLE: 1, studies.CANARY: 2})


def push(model: Path, target: Path, version: int) -> None:
    """Pushes a model with a number."""
    staged = target.parent / f'staged-{version}'
    source = staged / push_targets.publish(str(model), staged).version
    manifest = json.loads((source / 'manifest.json').read_text())
    (source / 'manifest.json').write_text(json.dumps({**manifest, 'version': str(version)}))
    target.mkdir(exist_ok=True)
    source.rename(target / str(version))
    shutil.rmtree(staged)


def write_labels(target: Path, labels: dict[str, int]) -> None:
    """Writes the model config file of a push directory."""
    config_file.write(
        target / push_target.MODEL_CONFIG, config_file.build(MODEL, str(target.resolve()), labels)
    )


@contextlib.contextmanager
def model_server(kind: str, target: Path, folder: Path) -> Iterator[str]:
    """HOST:PORT of a model server that serves the labelled versions of `target`."""
    config = target / push_target.MODEL_CONFIG
    with model_servers.running(kind, config, folder / 'model-server.log') as client:
        yield client.address


@functools.cache
def pixels(patient: int = 1, side: int = SIDE) -> np.ndarray:
    """A synthetic chest X-ray, uint8 [side, side]."""
    return synth.phantom(patient=patient, size=side)


@functools.cache
def jpeg(patient: int = 1) -> bytes:
    """A synthetic chest X-ray as a JPEG."""
    return synth.encode_jpeg(pixels(patient))


def png(image: np.ndarray, **options: Any) -> bytes:
    """The PNG of uint8 [height, width]."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'PNG', **options)
    return stream.getvalue()


def dicom(image: np.ndarray, **tags: Any) -> bytes:
    """The DICOM file of unsigned pixels [height, width], of `PATIENT`; `tags` are set last."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.Modality, dataset.ViewPosition = 'DX', 'PA'
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 'MONOCHROME2'
    dataset.BitsAllocated = dataset.BitsStored = 8 * image.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = image.tobytes()
    for name, value in {**PATIENT, **tags}.items():
        setattr(dataset, name, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
