"""The build of a patient (`Anatomy`), an exposure (`Pose`), and the chest in it (`Geometry`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# The patient's sides, as signs of x: the patient's right is on the left of the image.
RIGHT, LEFT = -1, 1
SIDES = (RIGHT, LEFT)


@dataclass(frozen=True)
class Anatomy:
    """The build of a patient, the same in all images of the patient; lengths in body units."""

    width: float  # of the thorax, 1 = average
    length: float  # of the thorax, 1 = average
    wall: float  # soft tissue outside the ribs, at the side
    fat: float  # 0..1
    heart: float  # width of the heart, 1 = average
    knob: float  # how far the aortic arch stands out
    dome: float  # height of the right hemidiaphragm's top
    dome_gap: float  # how much lower the left one is
    rib_gap: float
    rib_slope: float
    rib_width: float
    clavicle: float  # tilt
    breast: float  # 0: none
    breast_y: float
    scoliosis: float
    stomach: float  # size of the gas bubble
    vessels: float  # how marked the lung vessels are


def draw_anatomy(rng: np.random.Generator, age: float, sex: str) -> Anatomy:
    """Draws the build of a patient.

    Args:
      rng: the random stream of the patient.
      age: years; shapes the aorta.
      sex: F or M; shapes the breasts and the size.
    """
    woman = sex == 'F'
    fat = float(rng.beta(2, 3))
    breast = float(rng.uniform(0.35, 1.0)) if woman else 0.0
    return Anatomy(
        width=float(rng.normal(0.96 if woman else 1.02, 0.045)),
        length=float(rng.normal(0.97 if woman else 1.02, 0.05)),
        wall=0.09 + 0.22 * fat + float(rng.uniform(0, 0.04)),
        fat=fat,
        heart=float(np.clip(rng.normal(1.0, 0.065), 0.84, 1.16)),
        knob=float(np.clip(0.02 + 0.0011 * (age - 25) + rng.normal(0, 0.012), 0, 0.11)),
        dome=float(rng.normal(0.34, 0.035)),
        dome_gap=float(np.clip(rng.normal(0.055, 0.022), 0.0, 0.11)),
        rib_gap=float(rng.normal(0.118, 0.005)),
        rib_slope=float(rng.normal(0.20, 0.03)),
        rib_width=float(rng.normal(0.052, 0.005)),
        clavicle=float(rng.normal(0.0, 0.04)),
        breast=breast,
        breast_y=float(rng.uniform(0.10, 0.28) + 0.06 * fat),
        scoliosis=float(rng.normal(0, 0.018)),
        stomach=float(rng.uniform(0, 1)),
        vessels=float(rng.uniform(0.75, 1.2)),
    )


@dataclass(frozen=True)
class Pose:
    """How an image was taken: position of the patient, beam and receptor."""

    view: str  # PA or AP
    supine: bool
    # 0..1: how far the beam came from below, which lifts the clavicles and levels the ribs
    lordosis: float
    inspiration: float  # how far the diaphragm is lower than on average
    oblique: float  # sideways shift of the front of the body against its back
    scale: float
    degrees: float
    shift: tuple[float, float]
    threshold: float  # attenuation that gives a middle grey
    contrast: float  # slope of the characteristic curve
    grain: float  # standard deviation of the noise, grey levels
    arms: float  # how far the arms are from the trunk


def draw_pose(rng: np.random.Generator, view: str) -> Pose:
    """Draws how an image of this view was taken.

    AP images come from the bedside, with shallower breath, less contrast and more tilt.
    """
    bedside = view == 'AP'
    supine = bedside and bool(rng.random() < 0.5)
    loose = 1.6 if bedside else 1.0
    return Pose(
        view=view,
        supine=supine,
        lordosis=float(rng.beta(2, 2)) if bedside else float(rng.beta(1.2, 8)),
        inspiration=float(rng.normal(-0.05 if bedside else 0.02, 0.035)),
        oblique=float(rng.normal(0, 0.018 * loose)),
        scale=float(np.clip(rng.normal(1.0, 0.045), 0.88, 1.12)) * (1.02 if bedside else 1.0),
        degrees=float(rng.normal(0, 1.4 * loose)),
        shift=(float(rng.normal(0, 0.025 * loose)), float(rng.normal(0.02, 0.035 * loose))),
        threshold=float(np.exp(rng.normal(np.log(0.50), 0.10))),
        contrast=float(rng.uniform(1.75, 2.7)) * (0.88 if bedside else 1.0),
        grain=float(rng.uniform(0.9, 2.0)),
        arms=float(rng.uniform(0.0, 0.35)) if supine else float(rng.uniform(0.25, 1.0)),
    )


@dataclass
class Geometry:
    """The measures of a chest in one image; findings change them before anything is drawn."""

    anatomy: Anatomy
    pose: Pose
    heart: float
    width: float
    gap: float  # between ribs
    rib_slope: float
    dome: dict[int, float]  # height of each hemidiaphragm's top
    flatness: float = 0.0  # of the hemidiaphragms, 0..1
    air: float = 0.62  # how much the lungs lower the attenuation where they are deepest
    vessels: float = 1.0
    shift: float = 0.0  # of the mediastinum, sideways
    hilum: dict[int, tuple[float, float]] = field(default_factory=dict)


def geometry(anatomy: Anatomy, pose: Pose) -> Geometry:
    """The measures of a chest without findings.

    In AP, the heart is further from the receptor and looks larger. Lying raises the diaphragm.
    """
    bedside = pose.view == 'AP'
    top = anatomy.dome + pose.inspiration - (0.03 if pose.supine else 0.0)
    return Geometry(
        anatomy=anatomy,
        pose=pose,
        heart=anatomy.heart
        * (1.11 if bedside else 1.0)
        * (1.04 if pose.supine else 1.0)
        * (1 - 0.9 * pose.inspiration),
        width=anatomy.width,
        gap=anatomy.rib_gap * anatomy.length,
        rib_slope=anatomy.rib_slope * (1 - 0.55 * pose.lordosis),
        dome={RIGHT: top, LEFT: top + anatomy.dome_gap},
        vessels=anatomy.vessels * (1.1 if pose.supine else 1.0),
        hilum={RIGHT: (0.145, -0.06), LEFT: (0.155, -0.10)},
    )
