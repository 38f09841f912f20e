"""The head on frozen features: a regularised logistic regression for each label.

It has one optimum, whatever the seed, unlike a head that is trained by gradient steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import optimize, special

from trainer.losses import Weights

# Factors of the squared weights, relative to the mean loss of an image, strongest first. With 1,280
# features and some hundred images, the best is near 1; with many more images it is lower.
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Head:
    """logits = features @ kernel + bias.

    Attributes:
      penalty: of the regression.
      loss: mean weighted cross-entropy of an image, summed over labels, without the penalty.
      kernel: float32 [width, labels].
      bias: float32 [labels].
    """

    penalty: float
    loss: float
    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Computes logits, float32 [n, labels], from features, float32 [n, width]."""
        return features @ self.kernel + self.bias


def regularisation_path(
    features: np.ndarray, labels: np.ndarray, weights: Weights
) -> Iterator[Head]:
    """Fits a head for each of `PENALTIES`, strongest first; each starts from the previous one.

    The penalty is on the weights of standardised features, so that it does not depend on the scale
    of the features. Intercepts are not penalised (Hastie, Tibshirani and Friedman, "The elements of
    statistical learning", 2009, section 4.4.4).

    Args:
      features: float32 [n, width].
      labels: 0/1 [n, labels].
      weights: of the classes, as in the loss of fine-tuning.
    """
    standardised, mean, deviation = _standardised(features)
    image_weights = np.where(labels > 0.5, weights.positive, weights.negative)
    width, outputs = features.shape[1], labels.shape[1]
    weights_and_bias = np.zeros((width + 1, outputs))  # the intercepts in the last row
    for penalty in PENALTIES:
        objective = _Objective(standardised, labels, image_weights, penalty)
        result = optimize.minimize(
            objective,
            weights_and_bias.ravel(),
            jac=True,
            method='L-BFGS-B',
            options={'maxiter': 2000, 'gtol': 1e-6, 'ftol': 1e-10},
        )
        weights_and_bias = result.x.reshape(width + 1, outputs)
        kernel = weights_and_bias[:-1] / deviation[:, None]
        bias = weights_and_bias[-1] - mean @ kernel
        yield Head(
            penalty,
            objective.loss(weights_and_bias)[0],
            kernel.astype(np.float32),
            bias.astype(np.float32),
        )


def _standardised(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised features, float32 [n, width], and their mean and deviation, float64 [width]."""
    # Part by part: with 100,000 images, a copy in float64 would take a gigabyte.
    parts = [slice(start, start + _ROWS) for start in range(0, len(features), _ROWS)]
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(
        sum(np.square(features[part] - mean).sum(axis=0) for part in parts) / len(features)
    )
    deviation[deviation == 0] = 1.0
    standardised = np.empty_like(features)
    for part in parts:
        standardised[part] = (features[part] - mean) / deviation
    return standardised, mean, deviation


@dataclasses.dataclass(frozen=True)
class _Objective:
    features: np.ndarray
    labels: np.ndarray
    image_weights: np.ndarray
    penalty: float

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and gradient at `flat`, float64 [(width + 1) * labels]."""
        weights_and_bias = flat.reshape(-1, self.labels.shape[1])
        loss, slopes = self.loss(weights_and_bias)
        kernel = weights_and_bias[:-1]
        gradient = np.concatenate(
            [self.features.T @ slopes + self.penalty * kernel, slopes.sum(axis=0, keepdims=True)]
        )
        value = loss + self.penalty / 2 * float((kernel**2).sum())
        return value, gradient.ravel().astype(np.float64)

    def loss(self, weights_and_bias: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss of an image, and its slope by each logit, float32 [n, labels]."""
        kernel, bias = np.split(weights_and_bias.astype(np.float32), [-1])
        logits = self.features @ kernel + bias
        losses = self.image_weights * (np.logaddexp(0.0, logits) - self.labels * logits)
        slopes = self.image_weights * (special.expit(logits) - self.labels) / len(logits)
        return float(losses.sum(dtype=np.float64)) / len(logits), slopes.astype(np.float32)
