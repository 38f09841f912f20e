"""The synthetic patients, their studies and findings, with the frequencies of NIH ChestX-ray14.

Findings follow a Gaussian copula with two factors: acute illness (fluid, infection) and chronic
lung disease. The share of each finding is exact in expectation; the loadings determine which
findings occur together. Shares, ages, views and images per patient are counts of the NIH table
(Data_Entry_2017_v2020, 112,120 images). The loadings are chosen to match its frequent pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from records.synth.rendering import Study
from schemas.labels import FINDINGS, NO_FINDING

# Share of the NIH images with each finding.
NIH_PREVALENCE: dict[str, float] = {
    'Atelectasis': 0.1031,
    'Consolidation': 0.0416,
    'Infiltration': 0.1774,
    'Pneumothorax': 0.0473,
    'Edema': 0.0205,
    'Emphysema': 0.0224,
    'Fibrosis': 0.0150,
    'Effusion': 0.1188,
    'Pneumonia': 0.0128,
    'Pleural_Thickening': 0.0302,
    'Cardiomegaly': 0.0248,
    'Nodule': 0.0565,
    'Mass': 0.0516,
    'Hernia': 0.0020,
}

# Loadings on the two factors, and the share of the remaining variance that belongs to the patient.
_LOADINGS: dict[str, tuple[float, float, float]] = {
    'Atelectasis': (0.55, 0.10, 0.4),
    'Consolidation': (0.50, 0.05, 0.3),
    'Infiltration': (0.42, 0.00, 0.3),
    'Pneumothorax': (0.15, 0.55, 0.5),
    'Edema': (0.65, -0.15, 0.3),
    'Emphysema': (0.00, 0.65, 0.9),
    'Fibrosis': (0.00, 0.35, 0.9),
    'Effusion': (0.62, 0.15, 0.4),
    'Pneumonia': (0.45, 0.00, 0.2),
    'Pleural_Thickening': (0.20, 0.40, 0.8),
    'Cardiomegaly': (0.35, -0.10, 0.9),
    'Nodule': (0.10, 0.30, 0.7),
    'Mass': (0.15, 0.25, 0.7),
    'Hernia': (0.05, 0.00, 1.0),
}
_PERSISTENCE = 0.6  # share of the two factors' variance that belongs to the patient
# Share of the NIH patients with 1, 2, … images; the last one is for ten or more.
_STUDIES = np.array(
    [0.5682, 0.1335, 0.0682, 0.0432, 0.0304, 0.0255, 0.0197, 0.0160, 0.0126, 0.0827]
)
_AP = 0.3997
_AP_LOADING = 0.40
_MALE = 0.565
_AGE = (46.0, 16.0)
_YOUNGEST, _OLDEST = 18, 92
# Random streams; those of `rendering` start at 0.
_PATIENT, _STUDY, _NOISE = 16, 17, 18


@dataclass(frozen=True)
class LabelledStudy:
    """A study and the findings that its label names, which label noise may have changed."""

    study: Study
    findings: tuple[str, ...]

    @property
    def image_id(self) -> str:
        return f'{self.study.patient:08d}_{self.study.number:03d}.png'

    @property
    def mislabelled(self) -> bool:
        return self.findings != self.study.findings


def shares(prevalence: Mapping[str, float] | None = None) -> dict[str, float]:
    """The share of the images with each finding: that of `prevalence`, otherwise that of the NIH.

    A share of `No Finding` scales the findings that are not named, until this share of the images
    has no finding.

    Raises:
      ValueError: an unknown name, a share outside 0..1, or a share of `No Finding` that is
        impossible with the shares of the named findings.
    """
    requested = dict(prevalence or {})
    for name, share in requested.items():
        if name not in (NO_FINDING, *FINDINGS):
            raise ValueError(
                f'prevalence names {name!r}: expected {NO_FINDING} or one of {", ".join(FINDINGS)}'
            )
        if not 0 <= share <= 1:
            raise ValueError(f'prevalence of {name} is {share}: expected 0 to 1')
    normal = requested.pop(NO_FINDING, None)
    result = {name: requested.get(name, NIH_PREVALENCE[name]) for name in FINDINGS}
    if normal is None:
        return result
    free = [name for name in FINDINGS if name not in requested]

    def scaled(factor: float) -> dict[str, float]:
        return {
            name: min(share * factor, 1.0) if name in free else share
            for name, share in result.items()
        }

    low, high = 0.0, 1 / min((result[name] for name in free), default=1.0)
    if not without_finding(scaled(high)) - 1e-3 <= normal <= without_finding(scaled(low)) + 1e-3:
        raise ValueError(
            f'prevalence of {NO_FINDING} is {normal}: the shares of the named findings allow '
            f'{without_finding(scaled(low)):.3f} at most'
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if without_finding(scaled(middle)) > normal else (low, middle)
    return scaled(high)


def without_finding(prevalence: Mapping[str, float]) -> float:
    """The share of images without any finding, given the share of each finding.

    It comes from a two-dimensional Gauss-Hermite quadrature over the factors.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    weights = weights / weights.sum()
    none = np.outer(weights, weights)
    for name in FINDINGS:
        acute, chronic, _ = _LOADINGS[name]
        rest = np.sqrt(1 - acute**2 - chronic**2)
        none = none * ndtr(
            (_limit(prevalence[name]) - acute * nodes[:, None] - chronic * nodes[None, :]) / rest
        )
    return float(none.sum())


def _limit(share: float) -> float:
    return float(ndtri(1 - share))


def draw(
    count: int,
    seed: int,
    label_noise: float,
    prevalence: Mapping[str, float] | None = None,
    first_patient: int = 1,
) -> list[LabelledStudy]:
    """The first `count` studies of the population of this seed, in the order of their patients.

    Each patient has a separate random stream, so a longer list starts with the shorter one.
    """
    limits = {name: _limit(share) for name, share in shares(prevalence).items()}
    result: list[LabelledStudy] = []
    patient = first_patient
    while len(result) < count:
        result.extend(_patient(seed, patient, limits, label_noise))
        patient += 1
    return result[:count]


def _patient(
    seed: int, patient: int, limits: Mapping[str, float], label_noise: float
) -> Iterator[LabelledStudy]:
    rng = np.random.default_rng([seed, _PATIENT, patient])
    sex = 'M' if rng.random() < _MALE else 'F'
    years = rng.standard_normal()
    age = float(np.clip(_AGE[0] + _AGE[1] * years, _YOUNGEST, _OLDEST))
    own_factors, own_rest = rng.standard_normal(2), rng.standard_normal(len(FINDINGS))
    # Chronic disease comes with age.
    own_factors[1] = 0.35 * years + np.sqrt(1 - 0.35**2) * own_factors[1]
    studies = 1 + int(rng.choice(len(_STUDIES), p=_STUDIES / _STUDIES.sum()))
    for number in range(studies):
        study_rng = np.random.default_rng([seed, _STUDY, patient, number])
        factors = np.sqrt(_PERSISTENCE) * own_factors + np.sqrt(
            1 - _PERSISTENCE
        ) * study_rng.standard_normal(2)
        rest = study_rng.standard_normal(len(FINDINGS))
        findings = tuple(
            name
            for index, name in enumerate(FINDINGS)
            if _latent(name, factors, own_rest[index], rest[index]) > limits[name]
        )
        bedside = (
            _AP_LOADING * factors[0] + np.sqrt(1 - _AP_LOADING**2) * study_rng.standard_normal()
        )
        study = Study(
            patient=patient,
            number=number,
            age=min(int(age + number * 0.4), _OLDEST),
            sex=sex,
            view='AP' if bedside > _limit(_AP) else 'PA',
            findings=findings,
        )
        yield LabelledStudy(
            study,
            _label(
                findings,
                np.random.default_rng([seed, _NOISE, patient, number]),
                label_noise,
                limits,
            ),
        )


def _latent(name: str, factors: np.ndarray, own: float, passing: float) -> float:
    """A standard normal value; the study has the finding if it is above the limit of its share."""
    acute, chronic, stays = _LOADINGS[name]
    rest = np.sqrt(1 - acute**2 - chronic**2)
    return float(
        acute * factors[0]
        + chronic * factors[1]
        + rest * (np.sqrt(stays) * own + np.sqrt(1 - stays) * passing)
    )


def _label(
    findings: tuple[str, ...],
    rng: np.random.Generator,
    label_noise: float,
    limits: Mapping[str, float],
) -> tuple[str, ...]:
    """The findings of the label.

    With probability `label_noise`, it misses all findings of the study, or names a finding in a
    study without any.
    """
    if rng.random() >= label_noise:
        return findings
    if findings:
        return ()
    weights = 1 - ndtr(np.array([limits[name] for name in FINDINGS]))
    if not weights.sum():
        return findings
    return (FINDINGS[int(rng.choice(len(FINDINGS), p=weights / weights.sum()))],)
