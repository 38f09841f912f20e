"""The chest as fields of attenuation: trunk, lungs, heart, abdomen.

Attenuation is additive along the beam; 1 is about that of the mediastinum. Fields are float32 at
half the resolution of the image. `skeleton` has the parts that are drawn with strokes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from records.synth import canvas
from records.synth.anatomy import LEFT, RIGHT, SIDES, Geometry
from records.synth.canvas import Curve, dome, noise, smoothstep

_PLEURA = 0.20  # distance from the chest wall at which the lung has its full depth
_EDGE = 0.016  # softness of silhouettes


@dataclass
class Chest:
    """A chest being drawn.

    Attributes:
      x, y: body coordinates of each pixel.
      trunk: attenuation of everything but lungs and bones.
      lung: for each side, the depth of the lung as a share of its greatest depth, 0..1.
      wall: for each side, the distance inwards from the chest wall and the apex, body units
        (negative outside).
      floor: for each side, the distance upwards from the hemidiaphragm.
      opacity: attenuation that findings add.
      airways: the factor for the strokes of the vessels: 1 as drawn, 0 invisible, negative for
        air-filled branches.
    """

    geometry: Geometry
    frame: canvas.Frame
    x: np.ndarray
    y: np.ndarray
    trunk: np.ndarray
    opacity: np.ndarray
    airways: np.ndarray
    lung: dict[int, np.ndarray] = field(default_factory=dict)
    wall: dict[int, np.ndarray] = field(default_factory=dict)
    floor: dict[int, np.ndarray] = field(default_factory=dict)

    def lateral(self, side: int) -> np.ndarray:
        """The distance from the midline towards `side`."""
        return self.x if side == LEFT else -self.x

    def lungs(self) -> np.ndarray:
        """The depth of both lungs, 0..1."""
        return self.lung[RIGHT] + self.lung[LEFT]

    def depth_at(self, side: int, lateral: float, y: float) -> float:
        """The depth of the lung at a body point; 0 outside the image."""
        size = self.x.shape[0]
        column, row = (
            (self.frame.pixels(np.array([side * lateral, y])) * size / self.frame.size)
            .astype(int)
            .tolist()
        )
        return (
            float(self.lung[side][row, column]) if 0 <= row < size and 0 <= column < size else 0.0
        )


def build(
    geometry: Geometry, frame: canvas.Frame, patient: np.random.Generator, rng: np.random.Generator
) -> Chest:
    """The chest without bones.

    `patient` shapes what is the same in all images of a patient, `rng` what changes between them.
    """
    size = frame.size // 2
    x, y = frame.grid(size)
    # A real outline is never a textbook curve: warp it slowly, the same way for the whole patient.
    x = (
        x
        + np.float32(0.011) * noise(patient, size, 9)
        - np.float32(geometry.anatomy.scoliosis) * np.sin(2.2 * y)
    )
    y = y + np.float32(0.010) * noise(patient, size, 8)
    chest = Chest(geometry, frame, x, y, _trunk(geometry, x, y), np.zeros_like(x), np.ones_like(x))
    silhouette, medial = _mediastinum(geometry, x, y)
    for side in SIDES:
        _lung(chest, side, medial[side], silhouette)
    chest.trunk = (
        chest.trunk + _heart_and_spine(geometry, x, y, silhouette) + _abdomen(chest, patient, rng)
    )
    chest.trunk += _breasts(geometry, x, y)
    # Fat planes and muscle are not even.
    chest.trunk *= (
        1 + np.float32(0.022) * noise(patient, size, 7) + np.float32(0.010) * noise(rng, size, 30)
    )
    return chest


def _trunk(geometry: Geometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation of neck, shoulders, arms and chest wall: round, so thinner towards the skin."""
    anatomy, pose = geometry.anatomy, geometry.pose
    side = geometry.width * 0.735 + anatomy.wall
    lift = -0.05 * pose.lordosis
    outline = Curve(
        (-1.6, 0.29), (-0.96 + lift, 0.27 + 0.06 * anatomy.fat),
        (-0.84 + lift, 0.36 + 0.06 * anatomy.fat), (-0.74 + lift, 0.60),
        (-0.66 + lift, 0.86), (-0.57, 1.08), (-0.40, 1.14), (-0.25, side + 0.14),
        (-0.08, side + 0.04), (0.25, side), (0.60, side),
        (1.4, side + 0.03 + 0.08 * anatomy.fat),
    )  # fmt: skip
    depth = Curve(
        (-1.4, 0.60),
        (-0.88, 0.62),
        (-0.72, 0.74),
        (-0.50, 0.95),
        (-0.20, 0.99),
        (0.30, 1.0),
        (1.4, 1.08),
    )
    across = np.abs(x) / outline(y)
    trunk = depth(y) * np.sqrt(np.clip(1 - across * across * across, 0, 1))
    trunk *= 1 - np.float32(0.20) * smoothstep((np.abs(x) - 0.5) / 0.35) * smoothstep(
        (-0.15 - y) / 0.4
    )
    for sign in SIDES:
        trunk = np.maximum(
            trunk,
            _arm(
                x * sign,
                y,
                (1.02, -0.48),
                (1.10 + 0.42 * pose.arms, 0.60),
                0.155 + 0.05 * anatomy.fat,
            ),
        )
    return trunk * np.float32(0.92 + 0.16 * anatomy.fat)


def _arm(
    lateral: np.ndarray,
    y: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    radius: float,
) -> np.ndarray:
    """Attenuation of a round limb from the shoulder to the elbow."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    t = np.clip(((lateral - x0) * dx + (y - y0) * dy) / np.float32(dx * dx + dy * dy), 0, 1.3)
    off = (np.square(lateral - x0 - t * dx) + np.square(y - y0 - t * dy)) / np.float32(
        radius * radius
    )
    return np.float32(0.58) * np.sqrt(np.clip(1 - off, 0, 1))


def _mediastinum(
    geometry: Geometry, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The silhouette of heart and great vessels, 0..1, and the distance to each border."""
    anatomy, heart = geometry.anatomy, geometry.heart
    lift = 0.25 * ((geometry.dome[LEFT] + geometry.dome[RIGHT]) / 2 - 0.37)
    vessels = 1.10 if geometry.pose.supine else 1.0
    left_border = Curve(
        (-1.3, 0.12), (-0.74, 0.105), (-0.58, 0.135 * vessels), (-0.44, 0.115 * vessels),
        (-0.33, 0.12 * vessels + anatomy.knob),
        (-0.22, 0.115 * vessels), (-0.13, 0.15), (-0.05, 0.17 * heart),
        (0.08 + lift, 0.27 * heart), (0.22 + lift, 0.375 * heart),
        (0.31 + lift, 0.405 * heart), (0.40 + lift, 0.39 * heart), (0.55 + lift, 0.30 * heart),
        (0.8, 0.12),
    )  # fmt: skip
    right_border = Curve(
        (-1.3, 0.12), (-0.74, 0.11), (-0.55, 0.145 * vessels), (-0.30, 0.125 * vessels),
        (-0.12, 0.12), (0.02 + lift, 0.165 * heart),
        (0.16 + lift, 0.195 * heart), (0.30 + lift, 0.185 * heart), (0.45 + lift, 0.14 * heart),
        (0.8, 0.10),
    )  # fmt: skip
    moved = x - np.float32(geometry.shift + 0.6 * geometry.pose.oblique)
    outward = {LEFT: moved - left_border(y), RIGHT: -moved - right_border(y)}
    return smoothstep(0.5 - np.maximum(outward[LEFT], outward[RIGHT]) / (2 * _EDGE)), outward


def _lung(chest: Chest, side: int, medial: np.ndarray, silhouette: np.ndarray) -> None:
    geometry = chest.geometry
    width, length = geometry.width, geometry.anatomy.length
    lateral = chest.lateral(side) - np.float32(side * 0.3 * geometry.pose.oblique)
    apex = -0.74 * length - 0.02 * geometry.pose.lordosis
    wall = Curve(
        (-1.3, 0.20 * width), (apex, 0.36 * width), (-0.60, 0.475 * width), (-0.42, 0.56 * width),
        (-0.15, 0.645 * width),
        (0.15, 0.705 * width), (0.42, 0.735 * width), (0.8, 0.735 * width), (1.3, 0.72 * width),
    )  # fmt: skip
    reach = wall(chest.y)
    from_side = (reach - lateral) * np.float32(0.9)
    from_top = (
        chest.y - apex - np.float32(2.4) * np.square(lateral - np.float32(0.27 * width))
    ) * np.float32(0.85)
    chest.wall[side] = np.minimum(from_side, from_top)

    # The hemidiaphragm: a dome that falls to a sharp angle at the wall, and less towards the heart.
    middle, top = 0.36 * width, geometry.dome[side]
    off = np.abs(lateral - np.float32(middle)) / np.float32(0.37 * width)
    outer = np.float32(0.245 * (1 - 0.55 * geometry.flatness)) * off * off * np.sqrt(off)
    inner = np.float32(0.085 * (1 - 0.5 * geometry.flatness)) * off * off
    floor = np.float32(top) + np.where(lateral > middle, outer, inner)
    chest.floor[side] = floor - chest.y

    depth = (
        dome(from_side / _PLEURA)
        * dome(from_top / 0.16)
        * smoothstep(0.5 + medial / (2 * _EDGE) + 0.3)
    )
    # Behind the dome the lung reaches further down, thinner and thinner.
    behind = np.float32(0.10) * smoothstep((chest.floor[side] + 0.22) / 0.22)
    depth *= behind + (1 - behind) * smoothstep(0.5 + chest.floor[side] / (2 * _EDGE))
    # The lung also reaches behind and in front of the heart, up to the spine.
    through = (
        smoothstep((lateral - 0.06) / 0.12)
        * silhouette
        * dome(from_side / _PLEURA)
        * dome(from_top / 0.16)
    )
    through *= smoothstep(0.5 + (chest.floor[side] + 0.03) / (4 * _EDGE))
    # The lung is deeper at its base than at the apex.
    deeper = 0.80 + 0.20 * smoothstep((chest.y + 0.75) / 0.7)
    chest.lung[side] = (depth * (1 - silhouette) + np.float32(0.30) * through) * deeper


def _heart_and_spine(
    geometry: Geometry, x: np.ndarray, y: np.ndarray, silhouette: np.ndarray
) -> np.ndarray:
    anatomy = geometry.anatomy
    centre = np.float32(0.09 * geometry.heart + geometry.shift)
    off = np.square((x - centre) / np.float32(0.34 * geometry.heart)) + np.square((y - 0.20) / 0.36)
    heart = np.float32(0.13) * np.sqrt(np.clip(1 - off, 0, 1)) * silhouette
    spine_x = x + np.float32(0.4 * geometry.pose.oblique)
    half = Curve((-1.3, 0.075), (-0.6, 0.078), (0.2, 0.092), (1.3, 0.110))(y)
    column = smoothstep((half - np.abs(spine_x)) / 0.022 + 0.5)
    discs = np.cos((y * (1 - 0.10 * y) - 0.02) * np.float32(2 * np.pi / 0.112))
    body = (
        column
        * (0.17 + np.float32(0.022) * np.clip(discs, -0.6, 1.0))
        * (1 - 0.42 * smoothstep((y + 0.75) / 0.4))
    )
    pedicles = (
        np.exp(-np.square((np.abs(spine_x) - 0.055) / 0.014))
        * np.clip(discs, 0, 1)
        * np.float32(0.05)
    )
    ridge = np.exp(-np.square(spine_x / 0.016)) * (1 + discs) * np.float32(0.013)
    # The windpipe: a band of air down to its fork, a little to the right of the arch.
    swerve = (
        spine_x
        + np.float32(0.012 - geometry.shift * 0.7)
        + np.float32(0.3 * anatomy.knob) * smoothstep((y + 0.6) / 0.3)
    )
    windpipe = np.exp(-np.power(np.abs(swerve) / np.float32(0.036), 3)) * smoothstep(
        (-0.20 - y) / 0.06
    )
    fork = (
        np.exp(-np.square((np.abs(swerve) - 0.55 * (y + 0.22)) / 0.020))
        * smoothstep((y + 0.24) / 0.03)
        * smoothstep((-0.06 - y) / 0.06)
    )
    return heart + body + pedicles + ridge - np.float32(0.22) * windpipe - np.float32(0.09) * fork


def _abdomen(chest: Chest, patient: np.random.Generator, rng: np.random.Generator) -> np.ndarray:
    """Attenuation of the liver, the stomach with its gas bubble, and gas in the colon."""
    anatomy, pose, size = chest.geometry.anatomy, chest.geometry.pose, chest.x.shape[0]
    under = smoothstep(
        -np.maximum(chest.floor[RIGHT] * (chest.x < 0), chest.floor[LEFT] * (chest.x >= 0)) / 0.15
    )
    inside = smoothstep((0.72 * chest.geometry.width - np.abs(chest.x)) / 0.2)
    abdomen = (0.10 + 0.05 * smoothstep(-chest.x / 0.3)) * under * inside
    top = chest.geometry.dome[LEFT]
    bubble = 0.05 + 0.10 * anatomy.stomach * float(rng.uniform(0.5, 1.0))
    cx, cy = 0.30 + float(rng.normal(0, 0.03)), top + 0.05 + 0.75 * bubble
    off = np.square((chest.x - cx) / np.float32(1.35 * bubble)) + np.square(
        (chest.y - cy) / np.float32(bubble)
    )
    gas = smoothstep((1.0 + 0.18 * noise(patient, size, 12) - off) * 2.2)
    if not pose.supine:  # in a standing patient, the fluid in the stomach has a level
        gas *= smoothstep((cy + 0.35 * bubble - chest.y) / 0.015 + 0.5)
    abdomen -= np.float32(0.24 * (0.6 if pose.supine else 1.0)) * gas * under
    colon = smoothstep(noise(patient, size, 11) * 0.9 - 0.9) * smoothstep(
        (chest.y - top - 0.18) / 0.1
    )
    colon *= smoothstep((chest.x + 0.15) / 0.3) * inside
    return abdomen - np.float32(0.12) * colon


def _breasts(geometry: Geometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation of the breasts: half-round, with a sharp lower edge.

    In men, it is the fold of the chest muscle, fainter and higher.
    """
    anatomy = geometry.anatomy
    if anatomy.breast:
        rx, ry, cy, density = (
            0.20 + 0.12 * anatomy.breast,
            0.16 + 0.12 * anatomy.breast,
            anatomy.breast_y,
            0.27 * anatomy.breast,
        )
        out = 0.08 if geometry.pose.supine else 0.0
    else:
        rx, ry, cy, density, out = 0.30, 0.20, -0.12, 0.045, 0.0
    shadow = np.zeros_like(x)
    for sign in SIDES:
        off = np.square((x * sign - np.float32(0.44 + out)) / np.float32(rx)) + np.square(
            (y - np.float32(cy)) / np.float32(ry)
        )
        shadow += dome(1 - off) * smoothstep((y - np.float32(cy - ry)) / np.float32(1.3 * ry))
    return shadow * np.float32(density)
