"""The verdict on a recalibration, and the manifest of the version that it makes."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from components.evaluator.figure import Figure
from components.pusher import target as push_target
from components.pusher.target import Manifest, ServedVersion
from monitoring.recalibration.candidate import Candidate
from monitoring.recalibration.fitting import Fit
from monitoring.recalibration.gate import Condition
from monitoring.recalibration.labelled_images import Scored
from trainer.calibration import Calibration


@dataclass(frozen=True)
class Judged:
    """A recalibration with the verdict of its gate.

    Attributes:
      scored: the images.
      fit: on all of them.
      before: the calibration and the operating point of the served version.
      conditions: of the gate.
      metrics: held-out, by name.
      served_metrics: of the served version.
      paired: how the answers change, see `components.evaluator.paired`.
    """

    scored: Scored
    fit: Fit
    before: tuple[tuple[Calibration, ...], float]
    conditions: tuple[Condition, ...]
    metrics: dict[str, Figure]
    served_metrics: dict[str, Figure]
    paired: dict[str, dict[str, float]]

    @property
    def failures(self) -> list[str]:
        """The conditions that are not met, in words."""
        return [condition.summary for condition in self.conditions if not condition.passed]


def build(
    version: ServedVersion,
    copy: Candidate,
    judged: Judged,
    about: dict[str, Any],
    who: str,
    number: str,
    digest: str,
    files: dict[str, push_target.FileDigest],
) -> Manifest:
    """The manifest of the new version.

    It keeps the fields about the run that trained the network: a run that would train the same
    network again is not needed, and must not undo the recalibration.
    """
    assert version.manifest is not None
    names = list(copy.info['calibration'])
    calibrations, threshold = judged.before
    content = version.manifest.model_dump() | {
        'version': number,
        'model_digest': digest,
        'files': files,
        'metrics': _flat(judged.metrics) | {'example_count': float(len(judged.scored.labels))},
        'sensitivity_groups': {},
        'paired': judged.paired,
        'pushed_at': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'packages': push_target.package_versions(),
        'recalibration': about
        | {
            'before': _by_label(names, calibrations),
            'after': _by_label(names, judged.fit.calibrations),
            'threshold_before': threshold,
            'threshold_after': judged.fit.point.threshold,
            'served_metrics': _flat(judged.served_metrics),
            'gate': [condition.summary for condition in judged.conditions],
            'by': who,
        },
    }
    return Manifest.model_validate(content)


def _by_label(names: list[str], calibrations: tuple[Calibration, ...]) -> dict[str, dict]:
    return {name: vars(item) for name, item in zip(names, calibrations, strict=True)}


def _flat(figures: dict[str, Figure]) -> dict[str, float | None]:
    return {
        key: value
        for name, figure in figures.items()
        for key, value in (
            (name, figure.value),
            (f'{name}_lower', figure.lower),
            (f'{name}_upper', figure.upper),
        )
    }
