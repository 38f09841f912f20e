"""The sign of each of the 14 findings in a frontal image.

A sign is a function that changes the measures of the chest before anything is drawn. It returns an
overlay: a function that changes the drawn chest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from records.synth.anatomy import LEFT, RIGHT, SIDES, Geometry
from records.synth.canvas import dome, net, noise, smoothstep
from records.synth.thorax import Chest

Overlay = Callable[[Chest, np.random.Generator], None]
Sign = Callable[[Geometry, np.random.Generator], Overlay]


def _no_overlay(chest: Chest, rng: np.random.Generator) -> None:
    """The overlay of findings that only change measures."""


def _side(rng: np.random.Generator) -> int:
    return LEFT if rng.random() < 0.5 else RIGHT


def _sides(rng: np.random.Generator, both: float) -> tuple[int, ...]:
    return SIDES if rng.random() < both else (_side(rng),)


def _spot(
    chest: Chest, rng: np.random.Generator, top: float = -0.55, bottom: float = 0.30
) -> tuple[int, float, float]:
    """A random place (side, distance from the midline, y) inside the aerated lung.

    If no place is deep enough, it is the deepest one of several.
    """
    best = (-1.0, (RIGHT, 0.4, -0.1))
    for _ in range(12):
        side, lateral, y = (
            _side(rng),
            float(rng.uniform(0.20, 0.62)),
            float(rng.uniform(top, bottom)),
        )
        depth = chest.depth_at(side, lateral, y)
        best = max(best, (depth, (side, lateral, y)))
        if depth > 0.75:
            break
    return best[1]


def _bell(chest: Chest, side: int, lateral: float, y: float, *, rx: float, ry: float) -> np.ndarray:
    """A soft round envelope, 0..1."""
    off = np.square((chest.lateral(side) - np.float32(lateral)) / np.float32(rx)) + np.square(
        (chest.y - np.float32(y)) / np.float32(ry)
    )
    return np.exp(-off)


def _opacify(chest: Chest, side: int, cover: np.ndarray, density: float) -> None:
    """Fills air spaces: adds attenuation in proportion to the depth of the lung."""
    chest.opacity += np.float32(density) * cover * chest.lung[side]


def _cardiomegaly(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    # Cardiothoracic ratio above 0.5 by definition; here 0.53 to 0.70.
    geometry.heart *= rng.uniform(1.25, 1.55)
    return _no_overlay


def _effusion(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        for side in _sides(rng, 0.35):
            amount = 0.10 + 0.90 * float(rng.beta(1.3, 1.9))
            lateral, angle = chest.lateral(side), geometry.dome[side] + 0.235
            if geometry.pose.supine and rng.random() < 0.5:
                # In a lying patient, the fluid spreads behind the lung: a veil that thickens
                # downwards and hides the angle.
                veil = smoothstep((chest.y + 0.3 + 0.4 * amount) / 0.8)
                _opacify(chest, side, veil, 0.16 + 0.28 * amount)
                chest.airways *= 1 - np.float32(0.4) * veil * chest.lung[side]
            level = angle - 0.06 - 0.62 * amount
            rise = 0.10 + 0.16 * amount
            # The meniscus: fluid climbs along the wall, less along the mediastinum.
            meniscus = np.float32(level) - np.float32(rise) * (
                np.exp(-np.clip(chest.wall[side], 0, 1) / 0.07)
                + 0.35 * np.exp(-np.clip(lateral - 0.12, 0, 1) / 0.07)
            )
            under = smoothstep(0.5 + (chest.y - meniscus) / 0.045)
            chest.lung[side] = chest.lung[side] * (1 - under)
            chest.opacity += np.float32(0.04) * under * smoothstep(chest.wall[side] / 0.1)

    return overlay


def _pneumothorax(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    side, size = _side(rng), 0.15 + 0.85 * float(rng.beta(1.5, 1.6))
    if size > 0.75:
        geometry.shift -= side * float(rng.uniform(0.0, 0.06))

    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        reach = chest.geometry.dome[side] + 0.25 - 0.9 * (1 - size)
        gap = (
            np.float32(0.055 + 0.20 * size)
            * (0.25 + smoothstep((reach - chest.y) / 0.7))
            * (1 + 0.08 * noise(rng, chest.x.shape[0], 6))
        )
        gap = gap * smoothstep((reach + 0.15 - chest.y) / 0.2)
        wall = chest.wall[side]
        free = smoothstep(0.5 + (gap - wall) / 0.012) * (gap > 0.02)
        air = (
            dome(np.clip(wall, 0, 1) / 0.05)
            * free
            * (chest.floor[side] > 0)
            * (chest.lateral(side) > 0.1)
        )
        # Free air is darker than lung and has no vessels. The compressed lung is a little denser,
        # and its pleura is a thin white line.
        chest.lung[side] = np.where(
            air > 0,
            np.maximum(chest.lung[side], chest.lung[side] * (1 + np.float32(0.28) * air)),
            chest.lung[side],
        )
        chest.airways *= 1 - air
        line = (
            np.exp(-np.square((wall - gap) / 0.0055))
            * (gap > 0.03)
            * (chest.floor[side] > 0)
            * smoothstep(chest.lung[side] * 3)
        )
        chest.opacity += np.float32(0.075) * line
        _opacify(
            chest, side, (1 - free) * smoothstep((reach + 0.2 - chest.y) / 0.3), 0.08 + 0.20 * size
        )

    return overlay


def _round(
    chest: Chest,
    rng: np.random.Generator,
    radius: float,
    density: float,
    *,
    rough: float,
    blur: float,
) -> None:
    side, lateral, y = _spot(chest, rng)
    # The opacity covers ribs and vessels: the image shows it in front of the whole depth of lung.
    stretch = float(rng.uniform(0.85, 1.15))
    across = (chest.lateral(side) - np.float32(lateral)) / np.float32(radius * stretch)
    down = (chest.y - np.float32(y)) * np.float32(stretch / radius)
    off = np.sqrt(across * across + down * down) * (
        1 + np.float32(rough) * noise(rng, chest.x.shape[0], int(3 / radius))
    )
    chest.opacity += (
        np.float32(density)
        * dome((1 - off) / 0.9)
        * smoothstep((1 - off) / np.float32(blur))
        * smoothstep(chest.lung[side] * 3)
    )


def _mass(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        # A mass is more than 3 cm across, a nodule less (Fleischner Society glossary, Radiology
        # 2008;246:697).
        _round(
            chest,
            rng,
            float(rng.uniform(0.095, 0.21)),
            float(rng.uniform(0.36, 0.52)),
            rough=0.07,
            blur=0.15,
        )

    return overlay


def _nodule(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        for _ in range(int(rng.choice([1, 2, 3, 6], p=[0.6, 0.2, 0.1, 0.1]))):
            _round(
                chest,
                rng,
                float(rng.uniform(0.036, 0.070)),
                float(rng.uniform(0.34, 0.50)),
                rough=0.05,
                blur=0.35,
            )

    return overlay


def _atelectasis(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    side, loss = _side(rng), float(rng.uniform(0.2, 1.0))
    # Lost volume pulls the diaphragm up and the mediastinum to the side.
    geometry.dome[side] -= 0.04 + 0.11 * loss
    geometry.shift += side * 0.05 * loss

    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        floor, lateral = chest.floor[side], chest.lateral(side)
        for _ in range(int(rng.integers(1, 4))):
            x0, height, slope = (
                rng.uniform(0.28, 0.52),
                rng.uniform(0.05, 0.26),
                rng.normal(0, 0.25),
            )
            thick, half = rng.uniform(0.010, 0.026), rng.uniform(0.10, 0.22)
            off = (
                chest.y
                - np.float32(chest.geometry.dome[side] - height)
                - np.float32(slope) * (lateral - np.float32(x0))
            )
            off += np.float32(0.25) * np.square(lateral - np.float32(x0))
            band = np.exp(
                -np.square(off / np.float32(thick))
                - np.power(np.abs(lateral - np.float32(x0)) / np.float32(half), 4)
            )
            _opacify(chest, side, band, float(rng.uniform(0.26, 0.42)))
        crowd = np.exp(-np.square(np.clip(floor, 0, 1) / np.float32(0.10 + 0.12 * loss)))
        _opacify(
            chest, side, crowd * (0.8 + 0.3 * noise(rng, chest.x.shape[0], 16)), 0.18 + 0.30 * loss
        )

    return overlay


def _patch(
    chest: Chest,
    rng: np.random.Generator,
    side: int,
    *,
    size: float,
    density: float,
    grain: float,
    cells: int,
    bounds=(-0.5, 0.32),
) -> np.ndarray:
    """Adds an ill-defined opacity; returns its cover, 0..1."""
    lateral, y = float(rng.uniform(0.24, 0.52)), float(rng.uniform(*bounds))
    envelope = _bell(
        chest,
        side,
        lateral,
        y,
        rx=size * float(rng.uniform(0.8, 1.2)),
        ry=size * float(rng.uniform(0.8, 1.3)),
    )
    grains = np.clip(noise(rng, chest.x.shape[0], cells), -1.2, 1.8)
    ragged = smoothstep(envelope * (1.35 + np.float32(grain) * grains) - 0.12)
    _opacify(chest, side, ragged, density)
    return ragged


def _consolidation(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        for side in _sides(rng, 0.35):
            cover = _patch(
                chest,
                rng,
                side,
                size=float(rng.uniform(0.20, 0.36)),
                density=float(rng.uniform(0.38, 0.54)),
                grain=0.30,
                cells=18,
            )
            # The air in the bronchi is dark in the airless lung.
            chest.airways = chest.airways * (1 - cover) - np.float32(0.45) * cover

    return overlay


def _pneumonia(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        for side in _sides(rng, 0.25):
            for _ in range(int(rng.integers(1, 3))):
                _patch(
                    chest,
                    rng,
                    side,
                    size=float(rng.uniform(0.17, 0.28)),
                    density=float(rng.uniform(0.28, 0.42)),
                    grain=0.40,
                    cells=26,
                    bounds=(-0.25, 0.36),
                )

    return overlay


def _infiltration(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        for side in _sides(rng, 0.5):
            for _ in range(int(rng.integers(1, 4))):
                cover = _patch(
                    chest,
                    rng,
                    side,
                    size=float(rng.uniform(0.16, 0.30)),
                    density=float(rng.uniform(0.14, 0.26)),
                    grain=0.45,
                    cells=40,
                )
                strands = net(rng, chest.x.shape[0], 34, 0.35)
                _opacify(chest, side, cover * strands, float(rng.uniform(0.09, 0.17)))

    return overlay


def _edema(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    amount = float(rng.uniform(0.5, 1.0))
    geometry.heart *= 1 + 0.14 * amount
    geometry.vessels *= 1 + 0.4 * amount

    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        size = chest.x.shape[0]
        for side in SIDES:
            wing = _bell(chest, side, 0.27, 0.02, rx=0.26, ry=0.38) * (
                1 + 0.18 * noise(rng, size, 22)
            )
            _opacify(chest, side, np.clip(wing, 0, 1.3), 0.17 + 0.26 * amount)
            _opacify(chest, side, np.ones_like(wing), 0.05 * amount)
            # Kerley B lines: short and horizontal, at the wall above the angles.
            rungs = smoothstep(
                np.cos(chest.y * np.float32(2 * np.pi / 0.042)) * 2 - 1.2
            ) * smoothstep((0.10 - chest.wall[side]) / 0.03)
            near = smoothstep((chest.y - 0.12) / 0.15) * smoothstep(chest.floor[side] / 0.05 + 1)
            _opacify(chest, side, rungs * near, 0.10 * amount)

    return overlay


def _emphysema(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    amount = float(rng.uniform(0.4, 1.0))
    for side in SIDES:
        geometry.dome[side] += 0.07 + 0.10 * amount
    geometry.flatness = 0.55 + 0.45 * amount
    geometry.air *= 1.04 + 0.10 * amount
    geometry.heart *= 1 - 0.13 * amount
    geometry.width *= 1.02 + 0.03 * amount
    geometry.vessels *= 1 - 0.55 * amount
    geometry.gap *= 1.03 + 0.04 * amount

    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(0, 5))):
            side, lateral, y = _spot(chest, rng, -0.6, -0.1)
            rx = float(rng.uniform(0.06, 0.14))
            bulla = _bell(chest, side, lateral, y, rx=rx, ry=rx * 1.2)
            chest.airways *= 1 - bulla
            _opacify(chest, side, bulla, -0.07)

    return overlay


def _fibrosis(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    amount = float(rng.uniform(0.4, 1.0))
    for side in SIDES:
        geometry.dome[side] -= 0.05 * amount
    apical = rng.random() < 0.3

    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        size = chest.x.shape[0]
        mesh = (net(rng, size, 60, 0.40) + 0.6 * net(rng, size, 36, 0.22)) * (
            0.75 + 0.35 * noise(rng, size, 20)
        )
        for side in SIDES if rng.random() < 0.8 else (_side(rng),):
            zone = (
                smoothstep((-0.15 - chest.y) / 0.35)
                if apical
                else smoothstep((chest.y + 0.25) / 0.55)
            )
            zone = np.maximum(zone, 0.7 * np.exp(-np.clip(chest.wall[side], 0, 1) / 0.09))
            _opacify(chest, side, zone * mesh, 0.12 + 0.12 * amount)
            _opacify(chest, side, zone, 0.07 + 0.10 * amount)

    return overlay


def _pleural_thickening(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        size = chest.x.shape[0]
        for side in _sides(rng, 0.3):
            thick = np.float32(rng.uniform(0.035, 0.080)) * (1 + 0.30 * noise(rng, size, 14))
            if rng.random() < 0.4:
                place = smoothstep((-0.42 - chest.y) / 0.18)
                thick = thick * 1.3
            else:
                middle, half = rng.uniform(-0.15, 0.35), rng.uniform(0.18, 0.40)
                place = smoothstep((half - np.abs(chest.y - np.float32(middle))) / 0.12)
            rim = (
                smoothstep(0.5 + (thick - chest.wall[side]) / 0.018)
                * place
                * (chest.wall[side] > -0.02)
                * smoothstep((chest.lateral(side) - 0.15) / 0.05)
            )
            chest.lung[side] = chest.lung[side] * (1 - np.float32(0.85) * rim)
            chest.opacity += np.float32(rng.uniform(0.06, 0.16)) * rim * (chest.floor[side] > -0.05)
            # It often includes the angle.
            if rng.random() < 0.5:
                blunt = np.exp(
                    -np.square(chest.wall[side] / 0.10) - np.square(chest.floor[side] / 0.10)
                )
                _opacify(chest, side, blunt, 0.45)

    return overlay


def _hernia(geometry: Geometry, rng: np.random.Generator) -> Overlay:
    def overlay(chest: Chest, rng: np.random.Generator) -> None:
        radius = float(rng.uniform(0.13, 0.24))
        cx, cy = float(rng.normal(0.06, 0.05)), chest.geometry.dome[LEFT] - 0.25 * radius
        across, down = (
            (chest.x - np.float32(cx)) / np.float32(1.15 * radius),
            (chest.y - np.float32(cy)) / np.float32(radius),
        )
        off = np.sqrt(across * across + down * down) * (1 + 0.04 * noise(rng, chest.x.shape[0], 10))
        sac = smoothstep((1 - off) / 0.08)
        for side in SIDES:
            chest.lung[side] = chest.lung[side] * (1 - np.float32(0.75) * sac)
        # A pouch of stomach behind the heart: a soft wall, gas above, fluid below a horizontal
        # line.
        gas = smoothstep((0.84 - off) / 0.16) * smoothstep((0.15 - down) / 0.08 + 0.5)
        chest.opacity += np.float32(0.10) * sac - np.float32(0.22) * gas

    return overlay


# Findings that look the same in all images of a patient who has them.
LASTING = frozenset(
    {'Cardiomegaly', 'Emphysema', 'Fibrosis', 'Hernia', 'Mass', 'Nodule', 'Pleural_Thickening'}
)

SIGNS: dict[str, Sign] = {
    'Atelectasis': _atelectasis,
    'Consolidation': _consolidation,
    'Infiltration': _infiltration,
    'Pneumothorax': _pneumothorax,
    'Edema': _edema,
    'Emphysema': _emphysema,
    'Fibrosis': _fibrosis,
    'Effusion': _effusion,
    'Pneumonia': _pneumonia,
    'Pleural_Thickening': _pleural_thickening,
    'Cardiomegaly': _cardiomegaly,
    'Nodule': _nodule,
    'Mass': _mass,
    'Hernia': _hernia,
}
