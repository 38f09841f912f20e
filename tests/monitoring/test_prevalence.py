"""Prevalence and performance without labels, compared with the truth."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import prevalence
from monitoring.prevalence import Scored

_THRESHOLD = 0.4


def _scored(count: int, share: float, seed: int, prior: float = 0.4) -> Scored:
    """Images with a score that is N(0, 1) or N(2, 1); probabilities are right at `prior`."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < share).astype(int)
    score = rng.normal(size=count) + 2 * label
    odds = np.exp(2 * score - 2) * prior / (1 - prior)
    probability = odds / (1 + odds)
    groups = np.arange(count).astype(str)
    return Scored(groups, probability, (probability >= _THRESHOLD).astype(int), label)


@pytest.mark.parametrize('share', [0.1, 0.75])
def test_most_intervals_have_the_truth(share: float):
    # The intervals are about the traffic that a window is drawn from.
    traffic = _scored(200_000, share, 1)
    flagged, abnormal = traffic.flag == 1, traffic.label == 1
    truths = {
        'by_flags': share,
        'by_probabilities': share,
        'sensitivity': flagged[abnormal].mean(),
        'specificity': (~flagged)[~abnormal].mean(),
        'precision': abnormal[flagged].mean(),
    }
    draws = [
        prevalence.estimate(_scored(300, 0.4, 2 * seed), _scored(300, share, 2 * seed + 1), 100)
        for seed in range(25)
    ]
    for name, truth in truths.items():
        figures = [getattr(draw, name) for draw in draws]
        # At 95 %, fewer than 20 of 25 have it with a chance of 0.02 %.
        assert sum(figure.lower <= truth <= figure.upper for figure in figures) >= 20, name
        assert np.mean([figure.value for figure in figures]) == pytest.approx(truth, abs=0.03), name


def test_patients_with_many_images_widen_the_interval():
    single = _scored(800, 0.4, 1)
    window = _scored(400, 0.5, 2)
    repeated = Scored(
        np.repeat(window.groups, 4), np.repeat(window.probability, 4), np.repeat(window.flag, 4)
    )
    width = [
        (figure.upper or 0) - (figure.lower or 0)
        for figure in (
            prevalence.estimate(single, repeated, 300).by_flags,
            prevalence.estimate(
                single, Scored(np.arange(1600).astype(str), *_columns(repeated)), 300
            ).by_flags,
        )
    ]
    assert width[0] > 1.2 * width[1]


def _columns(images: Scored) -> tuple[np.ndarray, np.ndarray]:
    return images.probability, images.flag


def test_a_flag_without_information_gives_no_prevalence():
    reference, window = _scored(200, 0.4, 1), _scored(200, 0.4, 2)
    always = Scored(reference.groups, reference.probability, np.ones(200, int), reference.label)
    result = prevalence.estimate(always, window, 50)
    assert result.by_flags.value is None
    assert result.by_probabilities.value is not None


def test_a_reference_of_one_class_is_refused():
    images = _scored(50, 0.0, 1)
    with pytest.raises(ValueError, match='normal and abnormal'):
        prevalence.estimate(images, images)
