"""Estimates the share of abnormal images in traffic without labels.

Both estimates assume that only the mixture of abnormal and normal images has changed, and not how
either looks (label shift). Under drift of the images they are wrong, so they stand beside the test
of `two_sample`. If they disagree, the assumption does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.evaluator.figure import Figure

_ITERATIONS = 300
_CLIP = 1e-4


@dataclass(frozen=True)
class Scored:
    """Images with answers.

    Attributes:
      groups: [n], see `sample.Sample`.
      probability: calibrated, float [n].
      flag: 0/1 [n].
      label: 0/1 [n]; None for traffic.
    """

    groups: np.ndarray
    probability: np.ndarray
    flag: np.ndarray
    label: np.ndarray | None = None


@dataclass(frozen=True)
class Estimate:
    """What follows for traffic, with intervals.

    Attributes:
      by_flags: prevalence from the flagged share and the sensitivity and specificity of the
        reference (adjusted classify and count; Rogan and Gladen, 1978).
      by_probabilities: prevalence from the probabilities, by expectation-maximization (Saerens,
        Latinne and Decaestecker, 2002).
      sensitivity, specificity, precision: implied at the operating point by the probabilities,
        after they are corrected for the second prevalence.
      reference: the prevalence in the reference.
    """

    by_flags: Figure
    by_probabilities: Figure
    sensitivity: Figure
    specificity: Figure
    precision: Figure
    reference: float


def estimate(
    reference: Scored, window: Scored, replicates: int = 1000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Estimates prevalence and performance of a window.

    Args:
      reference: with labels of both kinds.
      window: traffic.
      replicates: of the bootstrap, which draws the groups of both.
      level: of the intervals.
      seed: of the draws.

    Raises:
      ValueError: the reference has no labels, or those of one kind only; or the window is empty.
    """
    if reference.label is None or len(np.unique(reference.label)) != 2:
        raise ValueError('the reference needs normal and abnormal images')
    if not len(window.flag):
        raise ValueError('the window has no assessed images')
    rng = np.random.default_rng(seed)
    ours = _draws(reference.groups, replicates, rng)
    theirs = _draws(window.groups, replicates, rng)
    prior = _mean(ours, reference.label)
    sensitivity = _mean(ours * reference.label, reference.flag)
    specificity = _mean(ours * (1 - reference.label), 1 - reference.flag)
    flagged = _mean(theirs, window.flag)
    with np.errstate(invalid='ignore', divide='ignore'):
        by_flags = np.clip((flagged + specificity - 1) / (sensitivity + specificity - 1), 0, 1)
    # A flag that says nothing about the label says nothing about the prevalence.
    by_flags[sensitivity + specificity <= 1] = np.nan
    by_probabilities, corrected = _maximize(window.probability, prior, theirs)
    weights = theirs * corrected
    rows = {
        'by_flags': by_flags,
        'by_probabilities': by_probabilities,
        'sensitivity': _mean(weights, window.flag),
        'specificity': _mean(theirs * (1 - corrected), 1 - window.flag),
        'precision': _mean(theirs * window.flag, corrected),
    }
    figures = {name: _figure(values, level) for name, values in rows.items()}
    return Estimate(**figures, reference=float(prior[0]))


def _maximize(
    probability: np.ndarray, prior: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Prevalence float [draws], and corrected probabilities float [draws, n]."""
    clipped = np.clip(probability, _CLIP, 1 - _CLIP)
    odds = (clipped / (1 - clipped))[None, :] * ((1 - prior) / prior)[:, None]
    share = prior.copy()
    total = weights.sum(axis=1)
    for _ in range(_ITERATIONS):
        new = (odds * (share / (1 - share))[:, None]).astype(np.float64)
        corrected = new / (1 + new)
        updated = np.clip((weights * corrected).sum(axis=1) / total, _CLIP, 1 - _CLIP)
        if np.abs(updated - share).max() < 1e-5:
            break
        share = updated
    return share, corrected


def _draws(groups: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each image is drawn, float [replicates + 1, n]; the first row is all ones."""
    names, index = np.unique(groups, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), replicates)
    return np.vstack([np.ones(len(groups)), counts[:, index]])


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1)
    return np.divide(
        (weights * values).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
    )


def _figure(values: np.ndarray, level: float) -> Figure:
    if np.isnan(values[0]):
        return Figure(None, reason='there is no such image, or the flag does not separate')
    drawn = values[1:][~np.isnan(values[1:])]
    if len(drawn) < len(values) / 2:
        return Figure(float(values[0]))
    lower, upper = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Figure(float(values[0]), float(lower), float(upper))
