"""Recalibrates a pushed version on labelled images, and pushes the result as a new version."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from components.evaluator import paired
from components.evaluator.bootstrap import Cases
from components.evaluator.predictions import LABEL, SERVED
from components.pusher import push
from components.pusher import target as push_target
from components.pusher.target import Manifest, ServedVersion
from components.serving_check import workspace
from components.xray_example_gen.parameters import DataParameters
from monitoring.recalibration import (
    RecalibrationError,
    candidate,
    fitting,
    gate,
    labelled_images,
    manifest,
)
from monitoring.recalibration.candidate import Candidate
from monitoring.recalibration.labelled_images import BATCH, Scored, Source
from monitoring.recalibration.manifest import Judged
from pipeline.config import Config
from schemas import image_status
from schemas.features import PATIENT_ID
from schemas.signatures import FLAG, PROBABILITY, STATUS

_ADVICE = 'train a version with this release of cxr-triage first'


def config_of(version: ServedVersion) -> Config:
    """The configuration of the run that trained a version.

    Raises:
      RecalibrationError: the version is damaged, or another release configured it.
    """
    if problems := push_target.damage(version):
        raise RecalibrationError(
            f'{version.path} is not what was pushed: {"; ".join(problems[:3])}'
        )
    assert version.manifest is not None
    try:
        return Config.model_validate(version.manifest.config)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecalibrationError(
            f'{version.path}: its configuration is of another release: '
            f'{".".join(map(str, first["loc"]))}: {first["msg"]}; {_ADVICE}'
        ) from None


def source(config: Config, data_root: str | None, spans: Any) -> Source:
    """The labelled images.

    Args:
      config: of the version.
      data_root: None for the data root of the version.
      spans: 'all', 'latest' or a list of numbers.

    Raises:
      DataRootError: there are no such files.
      OSError: a folder cannot be listed.
    """
    root = data_root or config.data.root
    if root is None:
        raise RecalibrationError('the version names no data root: give one with --data-root')
    changes: dict[str, Any] = {'root': root, 'spans': spans}
    if root != config.data.root:
        # The side files of the version are of its own data root.
        own = DataParameters()
        changes |= {'metadata': own.metadata, 'exclude': own.exclude}
    return labelled_images.find(config.data.model_copy(update=changes))


def recalibrate(
    version: ServedVersion,
    config: Config,
    data: Source,
    is_known: Callable[[str, str], bool],
    who: str,
    is_allowed: Callable[[Judged], bool],
) -> push.Pushed | None:
    """Fits, judges, and pushes.

    Args:
      version: in a push directory.
      config: from `config_of`.
      data: from `source`.
      is_known: see `labelled_images.read`.
      who: the person, for the manifest.
      is_allowed: gets the verdict; False ends without a push.

    Returns:
      The new version; None if it was not allowed.

    Raises:
      RecalibrationError: the version or the images cannot be used, or the new model fails the
        checks of ServingCheck.
      push.PushError: the new version could not be written, or another one was pushed meanwhile.
      MetadataError, OSError: the images cannot be read.
    """
    target, _ = version.path.rstrip('/').rsplit('/', 1)
    newest = push_target.versions(target)[-1].version
    with workspace.folder() as folder:
        copy = candidate.copy(version.path, folder)
        scored = _score(copy, data, is_known, config.serving_check.samples)
        judged = judge(copy, scored, config)
        if not is_allowed(judged):
            return None
        about = _about(version, data, scored)
        new = copy.recalibrate(judged.fit, about | {'of_model_version': copy.served.version})
        if reasons := copy.check(new, scored, config.serving_check):
            raise RecalibrationError(
                'the recalibrated model fails the checks of ServingCheck, nothing was pushed: '
                + '; '.join(reasons[:3])
            )

        def make_manifest(
            number: str, digest: str, files: dict[str, push_target.FileDigest]
        ) -> Manifest:
            # This runs under the lock of the push directory.
            if push_target.versions(target)[-1].version != newest:
                raise push.PushError(
                    f'another version was pushed to {target} meanwhile: run again to judge with it'
                )
            return manifest.build(version, copy, judged, about, who, number, digest, files)

        return push.publish(
            copy.model_dir, target, make_manifest, keep_versions=config.push.keep_versions
        )


def judge(copy: Candidate, scored: Scored, config: Config) -> Judged:
    """Fits, and judges the fit on held-out images.

    Raises:
      RecalibrationError: there are too few images.
    """
    label, patient = scored.labels[:, 0], scored.patient
    gate.check_counts(label, patient)
    target = config.operating_point.sensitivity
    calibrations, threshold = copy.served.calibrations, copy.served.threshold
    weights = scored.weights
    fit = fitting.fit(scored.logits, scored.labels, target, calibrations, weights)
    served = fitting.cases(scored.logits, scored.labels, calibrations[0], threshold)
    held_out = fitting.held_out(scored.logits, scored.labels, patient, target, weights)
    settings = config.evaluation.replicates, config.evaluation.interval, weights
    conditions = gate.judge(served, held_out, patient, target, *settings)
    final = fitting.cases(scored.logits, scored.labels, fit.calibrations[0], fit.point.threshold)
    _check_order(served, final)
    metrics = gate.metrics(held_out, patient, *settings)
    served_metrics = gate.metrics(served, patient, *settings)
    # The order of the images is unchanged; that of the held-out answers mixes several fits.
    metrics |= {name: served_metrics[name] for name in ('auc', 'pr_auc')}
    before = calibrations, threshold
    return Judged(
        scored,
        fit,
        before,
        tuple(conditions),
        metrics,
        served_metrics,
        _paired(served, final, patient),
    )


def _paired(served: Cases, recalibrated: Cases, patient: np.ndarray) -> dict[str, dict[str, float]]:
    columns: dict[str, Any] = {PATIENT_ID: patient, LABEL: served.label}
    for prefix, answers in (('', recalibrated), (SERVED, served)):
        columns |= {
            prefix + PROBABILITY: answers.probability,
            prefix + FLAG: answers.flag,
            prefix + STATUS: image_status.OK,
        }
    return paired.compare(pd.DataFrame(columns))


def _check_order(served: Cases, recalibrated: Cases) -> None:
    """Checks that the order of the images, and with it every AUC, is unchanged."""
    ordered = recalibrated.probability[np.argsort(served.probability, kind='stable')]
    if (np.diff(ordered) < -1e-9).any():
        raise RuntimeError('the recalibration changes the order of the images')


def _score(
    copy: Candidate, data: Source, is_known: Callable[[str, str], bool], samples: int
) -> Scored:
    left_out: Counter[str] = Counter()
    records = labelled_images.read(data, is_known, left_out)
    first = list(itertools.islice(records, BATCH))
    if not first:
        raise labelled_images.none_left(left_out)
    session = copy.read_out([record.image for record in first])
    everything = itertools.chain(first, records)
    return labelled_images.score(session, everything, copy.read_outs, samples, left_out)


def _about(version: ServedVersion, data: Source, scored: Scored) -> dict[str, Any]:
    label = scored.labels[:, 0]
    return {
        'of_version': version.version,
        'data': data.root,
        'spans': list(data.spans),
        'fingerprint': data.fingerprint,
        'images': len(label),
        'patients': len(np.unique(scored.patient)),
        'positives': int(label.sum()),
        'prevalence': float(np.average(label, weights=scored.weights)),
        'left_out': scored.left_out,
    }
