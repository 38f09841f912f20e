"""The calibration in an exported model: constants of its graph, which can be replaced.

The variables of the model, its weights, stay as they are, byte by byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from components.pusher.target import SAVED_MODEL
from monitoring.recalibration import RecalibrationError
from trainer.artifacts import MODEL_INFO_FILE
from trainer.calibration import Calibration

# A digest of `saved_model.pb`, which TensorFlow writes for its statistics and does not check.
_FINGERPRINT = 'fingerprint.pb'


@dataclass(frozen=True)
class Constants:
    """What `trainer.signatures.TriageModule` keeps beside the network.

    Attributes:
      calibrations: of the task's label, then of its findings.
      threshold: the operating point, a probability.
      version: the name of the model in its answers.
    """

    calibrations: tuple[Calibration, ...]
    threshold: float
    version: str

    def arrays(self) -> dict[str, np.ndarray]:
        """The constants as the graph has them: float32 or string, by name."""
        return {
            'offset': np.array([item.offset for item in self.calibrations], np.float32),
            'temperature': np.array([item.temperature for item in self.calibrations], np.float32),
            'threshold': np.array(self.threshold, np.float32),
            'version': np.array(self.version.encode(), object),
        }


def read_info(model_dir: str) -> dict[str, Any]:
    """What the Trainer recorded of a model (`triage.json`).

    Raises:
      RecalibrationError: there is no such file, or it has no calibration.
    """
    path = os.path.join(model_dir, MODEL_INFO_FILE)
    try:
        with open(path, encoding='utf-8') as stream:
            info = json.load(stream)
        constants(info)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecalibrationError(
            f'{path}: it has no calibration that could be changed ({type(error).__name__}: '
            f'{error}). Expected the triage.json of a model of this pipeline'
        ) from None
    return info


def constants(info: dict[str, Any]) -> Constants:
    """The constants of a model with this `triage.json`."""
    calibrations = [
        Calibration(float(item['offset']), float(item['temperature']))
        for item in info['calibration'].values()
    ]
    if not calibrations:
        raise ValueError('no calibration')
    threshold = float(info['operating_point']['threshold'])
    return Constants(tuple(calibrations), threshold, str(info['model_version']))


def replace(model_dir: str, before: Constants, after: Constants) -> None:
    """Replaces the constants of a local SavedModel in place.

    Args:
      model_dir: the folder of the SavedModel.
      before: the constants that it has.
      after: those that it gets; as many calibrations.

    Raises:
      RecalibrationError: the graph does not have the constants `before`.
    """
    path = os.path.join(model_dir, SAVED_MODEL)
    model = saved_model_pb2.SavedModel()
    try:
        with open(path, 'rb') as stream:
            model.ParseFromString(stream.read())
    except (OSError, DecodeError) as error:
        raise RecalibrationError(f'{path}: it cannot be read: {error}') from None
    for graph in model.meta_graphs:
        captured = {
            node.constant.operation
            for node in graph.object_graph_def.nodes
            if node.WhichOneof('kind') == 'constant'
        }
        nodes = [node for node in graph.graph_def.node if node.name in captured]
        new = after.arrays()
        for name, value in before.arrays().items():
            _set(_find(path, nodes, name, value), new[name])
    with open(path, 'wb') as stream:
        stream.write(model.SerializeToString(deterministic=True))
    fingerprint = os.path.join(model_dir, _FINGERPRINT)
    if os.path.exists(fingerprint):
        os.remove(fingerprint)


def _find(path: str, nodes: Sequence[Any], name: str, value: np.ndarray) -> Any:
    found = [node for node in nodes if _equal(tf.make_ndarray(node.attr['value'].tensor), value)]
    if len(found) != 1:
        raise RecalibrationError(
            f'{path}: {len(found)} constants of the graph have the {name} of triage.json, '
            f'{value.tolist()}; expected exactly one. The model is not an export of this pipeline, '
            'or not of this release: train it again'
        )
    return found[0]


def _equal(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and bool(np.all(actual == expected))


def _set(node: Any, value: np.ndarray) -> None:
    dtype = tf.string if value.dtype == object else tf.float32
    content = value.item() if dtype == tf.string else value
    node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(content, dtype, value.shape))
