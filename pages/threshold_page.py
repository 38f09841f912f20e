"""The threshold page: figures at any threshold, on the ROC and the histogram of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.evaluator import registry
from components.evaluator.results import NO_NUMBERS
from pages import charts, names, threshold_counts
from pages.measured import Evaluation, EvaluationError
from pages.runs import Run
from pages.threshold_counts import SliceCounts
from schemas.signatures import PROBABILITY

# Rows of the table of figures: the name of threshold.js -> title.
_FIGURES: dict[str, str] = {
    'sensitivity': registry.title('sensitivity'),
    'specificity': registry.title('specificity'),
    'ppv': registry.title('precision'),
    'npv': 'Negative predictive value',
    'flagged': 'Share of images flagged',
    'missed': 'Missed per 1,000 images',
    'false_alarms': 'False alarms per 1,000 images',
}


def context(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """The values of the template threshold.html.

    Raises:
      EvaluationError: the predictions are not those that the evaluation measured.
    """
    kept = evaluation.predictions
    if kept is None:
        return {'missing': _EARLIER_VERSION}
    probability = kept[PROBABILITY].to_numpy(np.float32)
    if not np.isfinite(probability).all():
        return {'missing': _NOT_FINITE.format(images=int((~np.isfinite(probability)).sum()))}
    # Outputs for findings may be no numbers either.
    if not evaluation.overall.gives_numbers():
        return {'missing': f'No figures: {NO_NUMBERS}.'}
    facts = run.model_info
    if not facts:
        return {'missing': _NO_OPERATING_POINT}
    point = np.float32(facts['operating_point']['threshold'])
    levels = threshold_counts.thresholds(probability, float(point))
    index = int(np.searchsorted(levels, point))
    counted = threshold_counts.count(kept, evaluation.slices, levels)
    if different := list(threshold_counts.differences(counted, evaluation.slices, index)):
        raise EvaluationError(
            f'{evaluation.folder}: the predictions are not those that the evaluation measured: '
            f'{different[0]}. Run the pipeline again to write both anew'
        )
    keys = {counts.key for counts in counted}
    return {
        'missing': '',
        'images': len(kept),
        'figures': _FIGURES,
        **run.class_names,
        'operating_point': f'{point:.4f}',
        'left_out': [
            names.slice_title(measured.key)
            for measured in evaluation.slices
            if measured.key not in keys
        ],
        'roc': charts.canvas('ROC', ('1 − specificity', 'sensitivity'), diagonal=True),
        'histogram': charts.canvas(
            'Histogram of the probabilities', ('probability', 'share of images'), y_ticks=False
        ),
        'content': {
            # As short as float32 allows: 0.01, not 0.009999999776482582.
            'thresholds': [float(np.format_float_positional(level)) for level in levels],
            'operating_point': index,
            'slices': [_slice(counts) for counts in counted],
        },
    }


def _slice(counts: SliceCounts) -> dict[str, Any]:
    return {
        'title': names.slice_title(counts.key),
        'positives': _plain(counts.positives),
        'negatives': _plain(counts.negatives),
        'not_assessed': counts.not_assessed,
    }


def _plain(counts: np.ndarray) -> list[float]:
    """Counts as short numbers: they are whole unless images have weights."""
    rounded = counts.astype(np.float64).round(4).tolist()
    return [int(count) if count.is_integer() else count for count in rounded]


_EARLIER_VERSION = (
    'This page needs the predictions for each image, and an earlier version made this evaluation '
    'without them. Run the pipeline again to add them.'
)
_NOT_FINITE = (
    'The model gave {images:,} images a probability that is not a number, so no figure is defined.'
)
_NO_OPERATING_POINT = (
    "The files of this run's model no longer exist, and with them its operating point. Run the "
    'pipeline again to restore them.'
)
