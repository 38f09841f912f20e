"""The model card of a recalibrated version: that of the trained version, with what has changed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from components.pusher.target import Manifest
from pages.card import CalibrationPart, ModelCard, OperatingPointPart, metric_fields
from trainer.tasks import TASKS

_PERFORMANCE = (
    'Performance, checks for shortcuts and data are of the version that was trained, before its '
    'recalibration. The metrics under calibration and operating point are of the images of the '
    'recalibration, each answered with a fit on other patients.'
)


def build(trained: ModelCard, manifest: Manifest) -> ModelCard:
    """Builds the card.

    Args:
      trained: the card of the version that was trained.
      manifest: of the recalibrated version.

    Raises:
      pydantic.ValidationError: the manifest lacks metrics.
    """
    about = manifest.recalibration
    assert about is not None
    after = about.after[TASKS[trained.details.task].label]
    text = about.text()
    negatives = about.images - about.positives
    content = trained.model_dump()
    content['details'] |= {
        'version': f'{trained.details.version}, recalibrated',
        'served_as': f'version {manifest.version} ({text})',
        'packages': manifest.packages,
    }
    content['calibration'] |= {
        'method': f'temperature and offset, by maximum likelihood; {text}',
        **after,
        **_metrics(CalibrationPart, manifest),
    }
    content['operating_point'] |= {
        'threshold': about.threshold_after,
        'chosen_on': f'the images of the recalibration ({about.positives:,} positive and '
        f'{negatives:,} negative)',
        **_metrics(OperatingPointPart, manifest),
        'flagged': 'not counted for a recalibration',
    }
    content['decisions']['evaluator'] += [f'recalibration: {line}' for line in about.gate]
    content['limits'] = [_PERFORMANCE, *content['limits']]
    return ModelCard.model_validate(content)


def _metrics(part: type[BaseModel], manifest: Manifest) -> dict[str, Any]:
    return {
        field: {
            'value': manifest.metrics.get(name),
            'lower': manifest.metrics.get(f'{name}_lower'),
            'upper': manifest.metrics.get(f'{name}_upper'),
            'reason': None,
        }
        for field, name in metric_fields(part).items()
    }
