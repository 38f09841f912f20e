"""Writes the predictions of the models that TFMA evaluates, without running them a second time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants

import storage
from components.evaluator import predictions
from components.evaluator.results import BASELINE, CANDIDATE
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, PROBABILITY, STATUS


@dataclass(frozen=True)
class _Destination:
    folder: str
    split: str


# TFX calls `custom_extractors` by name, and tells it neither the artifact nor the split.
_DESTINATION: ContextVar[_Destination | None] = ContextVar('destination', default=None)


@contextlib.contextmanager
def writing_to(folder: str, split: str) -> Iterator[None]:
    """Has the Evaluator that runs meanwhile write its predictions.

    Args:
      folder: of the `evaluation` artifact.
      split: that is evaluated.
    """
    token = _DESTINATION.set(_Destination(folder, split))
    try:
        yield
    finally:
        _DESTINATION.reset(token)


def custom_extractors(
    eval_shared_model: Any, eval_config: tfma.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, and after them one that writes what they extracted."""
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    destination = _DESTINATION.get()
    if destination is not None:
        label, findings = _task(eval_config)
        write = _Write(destination, label, findings, len(eval_config.model_specs) > 1)
        extractors.append(tfma.extractors.Extractor('WritePredictions', write))
    return extractors


def _task(eval_config: tfma.EvalConfig) -> tuple[str, list[str]]:
    """The label and the findings, as `patient_metrics` gets them."""
    for spec in eval_config.metrics_specs:
        for metric in spec.metrics:
            settings = json.loads(metric.config or '{}')
            if 'label' in settings:
                return settings['label'], settings['findings']
    raise ValueError('the configuration of the Evaluator names no label: expected PatientMetrics')


class _Write(beam.PTransform):
    """Writes a row for each image, and passes the extracts on."""

    def __init__(
        self, destination: _Destination, label: str, findings: list[str], has_served: bool
    ):
        super().__init__()
        self._destination, self._label, self._findings = destination, label, findings
        self._columns = predictions.columns(findings, has_served)

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        """See the class."""
        # One file: a test split has some megabytes of predictions.
        _ = (
            extracts
            | 'ToRows' >> beam.Map(_row, self._destination.split, self._label, self._findings)
            | 'WriteRows'
            >> beam.io.WriteToParquet(
                storage.join(self._destination.folder, predictions.PREFIX),
                pa.schema(list(self._columns.items())),
                file_name_suffix=predictions.SUFFIX,
                codec='snappy',
                num_shards=1,
            )
        )
        return extracts


def _row(
    extracts: Mapping[str, Any], split: str, label: str, findings: list[str]
) -> dict[str, Any]:
    features, outputs = extracts[constants.FEATURES_KEY], extracts[constants.PREDICTIONS_KEY]
    row = {name: _value(features, name) for name in predictions.FEATURES}
    row[predictions.SPLIT], row[predictions.LABEL] = split, _value(features, label)
    row.update((name, _value(features, name)) for name in FINDINGS)
    # With one model, TFMA has no level of models.
    row.update(_outputs(outputs.get(CANDIDATE, outputs), findings))
    if BASELINE in outputs:
        served = _outputs(outputs[BASELINE], findings)
        row.update((predictions.SERVED + name, value) for name, value in served.items())
    return row


def _outputs(outputs: Mapping[str, Any], findings: list[str]) -> dict[str, Any]:
    flag = _value(outputs, FLAG)
    return {
        PROBABILITY: _value(outputs, PROBABILITY),
        # A defect may make it NaN.
        FLAG: round(flag) if np.isfinite(flag) else None,
        STATUS: _value(outputs, STATUS),
        **{predictions.probability_of(name): _value(outputs, name) for name in findings},
    }


def _value(values: Mapping[str, Any], name: str) -> Any:
    """The only value of an array; None if there is no such array."""
    if name not in values:
        return None
    value = np.asarray(values[name]).item()
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else value
