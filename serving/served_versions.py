"""What is on record about the versions in a push directory: operating point and test results."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import storage
from components.pusher import target as push_target

# What the Trainer writes beside a model; see trainer.artifacts.
_MODEL_INFO = 'assets.extra/triage.json'


@dataclass(frozen=True)
class Estimate:
    """A figure of the test split, with its interval by patient."""

    value: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class VersionInfo:
    """A version in the push directory.

    Attributes:
      version: its number.
      threshold: the operating point, a probability.
      task: e.g. 'nih_triage'.
      pushed_at: UTC, ISO 8601.
      auc, sensitivity, specificity: on the test split, at the operating point.
      paired: how it differs from the version `compared_with` on the same test images, see
        `components.evaluator.paired`; empty if they were not compared.
      recalibration: of which version on which images, a sentence; '' for a trained version. Then
        its test results are of these images.
      problem: why nothing is known about it; '' if all is.
    """

    version: int
    threshold: float | None = None
    task: str = ''
    pushed_at: str = ''
    auc: Estimate = Estimate(None, None, None)
    sensitivity: Estimate = Estimate(None, None, None)
    specificity: Estimate = Estimate(None, None, None)
    paired: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compared_with: int | None = None
    recalibration: str = ''
    problem: str = ''


def read_all(target: str) -> list[VersionInfo]:
    """The versions in a push directory, oldest first.

    Raises:
      push_target.TargetError, OSError: it cannot be read.
    """
    return [read(version.path, int(version.version)) for version in push_target.versions(target)]


@functools.lru_cache(maxsize=64)
def read(path: str, number: int) -> VersionInfo:
    """What is on record about one version; a pushed version never changes."""
    try:
        manifest = push_target.read_manifest(path)
        info = json.loads(storage.read_text(storage.join(path, _MODEL_INFO)))
    except (push_target.TargetError, OSError, ValueError) as error:
        return VersionInfo(number, problem=str(error))
    metrics, recalibration = manifest.metrics, manifest.recalibration
    compared_with = recalibration.of_version if recalibration else manifest.baseline_version
    return VersionInfo(
        number,
        info.get('operating_point', {}).get('threshold'),
        str(info.get('task', '')),
        manifest.pushed_at,
        _estimate(metrics, 'auc'),
        _estimate(metrics, 'sensitivity'),
        _estimate(metrics, 'specificity'),
        manifest.paired,
        int(compared_with) if compared_with else None,
        recalibration.text() if recalibration else '',
    )


def _estimate(metrics: dict[str, Any], name: str) -> Estimate:
    return Estimate(*(metrics.get(key) for key in (name, f'{name}_lower', f'{name}_upper')))
