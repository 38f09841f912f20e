"""Makes the recalibrated model, and checks it as ServingCheck checks a trained one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from typing import Any

import numpy as np

import storage
from components.serving_check import launcher, samples, session_probe
from components.serving_check.parameters import ServingCheckParameters
from components.serving_check.session_model import SessionModel
from monitoring.recalibration import RecalibrationError, graph_constants, labelled_images
from monitoring.recalibration.fitting import Fit
from monitoring.recalibration.graph_constants import Constants
from monitoring.recalibration.labelled_images import Scored
from records import tfrecord
from schemas import image_status, signatures
from trainer.artifacts import MODEL_INFO_FILE
from trainer.calibration import Calibration

_SUFFIX = re.compile(r'-recalibrated-[0-9a-f]{8}$')
# Probabilities that differ by no more than this are the same answer.
_SAME = 1e-5


@dataclasses.dataclass
class Candidate:
    """A copy of a version whose calibration changes.

    Attributes:
      folder: a private folder, see `components.serving_check.session_probe`.
      info: the triage.json of the version.
      served: its constants.
    """

    folder: str
    info: dict[str, Any]
    served: Constants

    @property
    def model_dir(self) -> str:
        """The SavedModel."""
        return os.path.join(self.folder, session_probe.MODEL)

    @property
    def read_outs(self) -> dict[str, Calibration]:
        """See `labelled_images.score`."""
        calibrations = map(labelled_images.read_out, self.served.calibrations)
        return dict(zip(self.info['calibration'], calibrations, strict=True))

    def read_out(self, images: list[bytes]) -> SessionModel:
        """A session of the network with the calibrations `read_outs`.

        Args:
          images: some images. The answers of the version about them have to be those of its
            network with its calibration, so that the logits are what was calibrated.

        Raises:
          RecalibrationError: they are not.
        """
        before = SessionModel(self.model_dir).score(signatures.IMAGES, images)
        read_out = dataclasses.replace(self.served, calibrations=tuple(self.read_outs.values()))
        graph_constants.replace(self.model_dir, self.served, read_out)
        session = SessionModel(self.model_dir)
        graph_constants.replace(self.model_dir, read_out, self.served)
        logits, statuses = labelled_images.read_logits(session, images, self.read_outs)
        expected = self.served.calibrations[0].apply(logits[:, 0])
        is_ok = np.array([status == image_status.OK for status in statuses])
        if not np.allclose(before.probability[is_ok], expected[is_ok], rtol=0, atol=_SAME):
            raise RecalibrationError(
                f'{self.model_dir}: the answers of this version are not those of its network with '
                'the calibration of its triage.json; train it again'
            )
        return session

    def recalibrate(self, fit: Fit, about: dict[str, Any]) -> Constants:
        """Gives the model another calibration, and writes its triage.json.

        Args:
          fit: the new calibration.
          about: for triage.json; the same for the same data, so that the same fit makes the same
            model.
        """
        new = Constants(fit.calibrations, fit.point.threshold, '')
        digest = hashlib.sha256(b''.join(a.tobytes() for a in _numbers(new))).hexdigest()[:8]
        name = f'{_SUFFIX.sub("", self.served.version)}-recalibrated-{digest}'
        new = dataclasses.replace(new, version=name)
        graph_constants.replace(self.model_dir, self.served, new)
        content = self.info | {
            'model_version': name,
            'operating_point': vars(fit.point),
            'calibration': {
                label: vars(item)
                for label, item in zip(self.info['calibration'], fit.calibrations, strict=True)
            },
            'recalibration': about,
        }
        with open(os.path.join(self.model_dir, MODEL_INFO_FILE), 'w', encoding='utf-8') as stream:
            json.dump(content, stream, indent=1)
        return new

    def check(
        self, new: Constants, scored: Scored, parameters: ServingCheckParameters
    ) -> list[str]:
        """Runs the checks of ServingCheck, which also write the sample answers.

        Args:
          new: the constants of the model.
          scored: the images; those in `examples` have to get the answers of the fit.
          parameters: limits and tolerances.

        Returns:
          Why the model must not be served; empty if it may.

        Raises:
          launcher.ProbeError: the probe failed before it loaded the model.
        """
        answers = []
        with open(os.path.join(self.folder, samples.RECORDS_FILE), 'wb') as stream:
            for position, image_id, example in scored.examples:
                # In float32, as the exported graph computes it.
                probability = np.float32(new.calibrations[0].apply(scored.logits[position, 0]))
                answers.append(
                    {
                        'image_id': image_id,
                        'probability': float(probability),
                        'flag': int(probability >= np.float32(new.threshold)),
                    }
                )
                stream.write(tfrecord.frame(example))
        content = {'samples': answers, 'operating_point': {'threshold': new.threshold}}
        _write_json(os.path.join(self.folder, samples.ANSWERS_FILE), content)
        _write_json(
            os.path.join(self.folder, session_probe.PARAMETERS), parameters.model_dump(mode='json')
        )
        result = launcher.run(self.folder, parameters)
        return [
            f'{check["name"]}: {reason}'
            for check in result['checks']
            for reason in check['reasons']
        ]


def copy(version: str, folder: str) -> Candidate:
    """Copies a pushed version into a private folder.

    Args:
      version: the folder of the version, a local path or URI.
      folder: from `components.serving_check.workspace.folder`.

    Raises:
      RecalibrationError: the version has no calibration.
      OSError: it cannot be copied.
    """
    model_dir = os.path.join(folder, session_probe.MODEL)
    for name in storage.files(version):
        if name != 'manifest.json':
            storage.copy(storage.join(version, name), os.path.join(model_dir, name))
    info = graph_constants.read_info(model_dir)
    return Candidate(folder, info, graph_constants.constants(info))


def _numbers(constants: Constants) -> list[np.ndarray]:
    return [array for array in constants.arrays().values() if array.dtype == np.float32]


def _write_json(path: str, content: object) -> None:
    with open(path, 'w', encoding='utf-8') as stream:
        json.dump(content, stream)
