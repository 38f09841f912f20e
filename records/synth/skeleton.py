"""The parts drawn with strokes: ribs, shoulder girdle, arms, lung vessels, and foreign objects."""

from __future__ import annotations

import numpy as np

from records.synth.anatomy import LEFT, SIDES, Geometry
from records.synth.canvas import Frame, Strokes, blur

_RIBS = 11
_TREE_LEVELS = 6
_STEPS = 3  # straight pieces between two forks


def ribs(geometry: Geometry, frame: Frame) -> np.ndarray:
    """Attenuation of the ribs, float32 [size, size].

    They are hoops that slope down from the spine; their front part is fainter.
    """
    back, front = Strokes(frame), Strokes(frame)
    anatomy, pose = geometry.anatomy, geometry.pose
    for number in range(_RIBS):
        start = -0.80 * anatomy.length + 0.045 + geometry.gap * number - 0.03 * pose.inspiration
        reach = geometry.width * _hoop(number)
        slope = geometry.rib_slope * (0.55 + 0.06 * number)
        width = anatomy.rib_width * (0.85 + 0.02 * number)
        # The lowest ribs end freely. The front part of the others ends at the cartilage, which an
        # X-ray does not show.
        last = 1.72 if number < 8 else 1.72 - 0.16 * (number - 7)
        for side in SIDES:
            for strokes, begin, end, shift, cortex, marrow in (
                (back, 0.11, last, 0.4, 1.0, 0.58),
                (front, 1.50, 2.50 - 0.05 * number, -0.6, 0.72, 0.44),
            ):
                if strokes is front and number > 6:
                    continue
                angle = np.linspace(begin, end, 24)
                bend = 0.022 * np.sin(2 * angle) - 0.05 * np.exp(-angle / 0.25)
                drop = slope * (1 - np.cos(angle)) - bend * (1 - 0.5 * pose.lordosis)
                path = np.stack(
                    [side * reach * np.sin(angle) - shift * pose.oblique, start + drop], axis=1
                )
                fade = 1.0 if number < 8 else 0.9 - 0.15 * (number - 8)
                strokes.bone(
                    path,
                    width * (1 + 0.25 * np.square((angle - begin) / (end - begin))),
                    cortex * fade,
                    marrow * fade,
                )
    return np.float32(0.100) * back.field() + np.float32(0.075) * front.field()


def _hoop(number: int) -> float:
    return (0.375, 0.505, 0.585, 0.64, 0.68, 0.705, 0.72, 0.73, 0.73, 0.72, 0.68)[number]


def girdle(geometry: Geometry, frame: Frame) -> np.ndarray:
    """Attenuation of collar bones, shoulder blades and upper arms, float32 [size, size]."""
    near, far = Strokes(frame), Strokes(frame, supersampling=1)  # the far one is blurred anyway
    pose = geometry.pose
    lift = -0.11 * pose.lordosis
    for side in SIDES:
        lean = side * 0.012 * np.sign(pose.oblique)
        t = np.linspace(0, 1, 24)
        clavicle_x = 0.065 + 0.74 * t
        clavicle_y = (
            -0.525
            + lift
            - (0.13 + geometry.anatomy.clavicle) * t
            + 0.028 * np.sin(2 * np.pi * t)
            + lean
        )
        thick = 0.048 + 0.030 * np.square(1 - t) * (t < 0.5) + 0.012 * t
        near.bone(
            np.stack([side * clavicle_x + 0.9 * pose.oblique, clavicle_y], axis=1), thick, 1.0, 0.62
        )
        _shoulder_blade(far, side, 0.62 if pose.view == 'AP' else 0.76 + 0.06 * pose.arms)
        shaft = np.linspace(-0.06, 1, 12)
        arm = np.stack(
            [side * (1.02 + (0.08 + 0.42 * pose.arms) * shaft), -0.47 + 1.1 * shaft], axis=1
        )
        near.bone(arm, 0.100 - 0.025 * shaft + 0.05 * np.exp(-shaft / 0.08), 0.62, 0.42)
        head = np.linspace(0, 2 * np.pi, 28)
        near.polygon(
            np.stack(
                [side * (0.975 + 0.085 * np.cos(head)), -0.525 + 0.080 * np.sin(head)], axis=1
            ),
            0.50,
        )
    return np.float32(0.14) * near.field() + np.float32(0.085) * blur(
        far.field(), frame.length(0.013)
    )


def _shoulder_blade(strokes: Strokes, side: int, inner: float) -> None:
    """Draws a thin plate with a thicker outer border and the ridge that runs to the shoulder."""
    plate = np.array(
        [
            [inner, -0.62],
            [0.93, -0.62],
            [0.95, -0.50],
            [0.86, -0.33],
            [inner + 0.06, 0.02],
            [inner + 0.01, -0.30],
        ]
    )
    strokes.polygon(plate * [side, 1], 0.5)
    border = np.array(
        [
            [0.95, -0.50],
            [0.90, -0.40],
            [0.86, -0.30],
            [inner + 0.13, -0.12],
            [inner + 0.06, 0.02],
            [inner + 0.04, 0.0],
        ]
    )
    strokes.bone(border * [side, 1], np.array([0.07, 0.06, 0.045, 0.04, 0.03, 0.02]), 0.95, 0.85)
    strokes.bone(
        np.array([[inner, -0.50], [0.80, -0.60], [0.98, -0.66]]) * [side, 1], 0.045, 0.9, 0.75
    )


def vessels(geometry: Geometry, frame: Frame, patient: np.random.Generator) -> np.ndarray:
    """The branching vessels of both lungs, float32 [size, size], 0..1.

    Each hilum has one tree, the same in all images of the patient.
    """
    strokes = Strokes(frame)
    generations: list[list[np.ndarray]] = [[] for _ in range(_TREE_LEVELS)]
    for side in SIDES:
        x, y = geometry.hilum[side]
        room = (geometry.dome[side] - y) / 0.44
        # Angles of the main branches, 0 straight out to the side, positive downwards: most go to
        # the lower lobe.
        angles = np.array(
            [-1.30, -1.05, -0.7, -0.35, 0.0, 0.3, 0.55, 0.8, 1.0, 1.2, 1.4, 1.6]
        ) + patient.normal(0, 0.12, 12)
        starts = np.stack(
            [np.full(12, x + geometry.shift * side), y + 0.12 * np.sin(angles)], axis=1
        ) + patient.normal(0, 0.014, (12, 2))
        for level, paths in enumerate(_tree(starts, angles, room, patient)):
            generations[level].append(paths * [side, 1])
    for level in reversed(range(_TREE_LEVELS)):  # thick ones on top
        strokes.branches(
            np.concatenate(generations[level]), 0.0165 * 0.72**level, 0.95 - 0.13 * level
        )
    return strokes.field()


def _tree(starts: np.ndarray, angles: np.ndarray, room: float, rng: np.random.Generator):
    """Yields the branches of each generation of a tree: float [n, _STEPS + 1, 2], lateral and y."""
    stretch = 0.105
    points = starts
    for _ in range(_TREE_LEVELS):
        path = [points]
        bend = rng.normal(0, 0.12, len(angles))
        length = stretch * rng.uniform(0.45, 1.45, len(angles)) / _STEPS
        for _ in range(_STEPS):
            angles = angles + bend + rng.normal(0, 0.10, len(angles))
            step = np.stack(
                [
                    np.cos(angles) * length,
                    np.sin(angles) * length * np.where(angles > 0, room, 1.0),
                ],
                axis=1,
            )
            points = points + step
            path.append(points)
        yield np.stack(path, axis=1)
        fork = rng.uniform(0.15, 0.65, len(angles))
        share = rng.uniform(0.2, 0.8, len(angles))
        angles = np.concatenate([angles + fork * share, angles - fork * (1 - share)])
        points = np.concatenate([points, points])
        stretch *= 0.86


def hila(geometry: Geometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The roots of the lungs, where the vessels overlap: float32 like x, 0..1."""
    total = np.zeros_like(x)
    for side in SIDES:
        hilum_x, hilum_y = geometry.hilum[side]
        lateral = x * side - np.float32(geometry.shift * side)
        total += np.exp(
            -np.square((lateral - (hilum_x + 0.03)) / 0.055)
            - np.square((y - hilum_y - 0.03) / 0.12)
        )
    return total


def around(geometry: Geometry, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """The foreign objects of an image, float32 [size, size], 0..1: side marker, leads, a line."""
    strokes = Strokes(frame)
    if rng.random() < 0.8:
        _marker(strokes, rng)
    bedside = geometry.pose.view == 'AP'
    if rng.random() < (0.5 if bedside else 0.04):
        for _ in range(int(rng.integers(1, 4))):
            _lead(strokes, rng)
    if rng.random() < (0.30 if bedside else 0.03):
        t = np.linspace(0, 1, 30)
        strokes.line(
            np.stack(
                [-0.60 + 0.52 * t**0.7, -0.62 - 0.05 * np.sin(np.pi * t) + 0.55 * t**2.2], axis=1
            ),
            0.008,
            0.45,
        )
    return strokes.field()


def _marker(strokes: Strokes, rng: np.random.Generator) -> None:
    """Draws the lead letter L at the patient's left shoulder."""
    tilt, height = rng.normal(0, 0.25), rng.uniform(0.045, 0.07)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    letter = np.array([[0.0, -1.0], [0.0, 0.0], [0.55, 0.0]]) * height
    strokes.line(letter @ turn.T + [rng.uniform(0.72, 0.90), rng.uniform(-0.92, -0.74)], 0.016, 1.0)


def _lead(strokes: Strokes, rng: np.random.Generator) -> None:
    """Draws an ECG electrode with its cable, which leaves the image at the bottom or the side."""
    side = LEFT if rng.random() < 0.6 else -LEFT
    x0, y0 = side * rng.uniform(0.15, 0.65), rng.uniform(-0.5, 0.5)
    x1, y1 = side * rng.uniform(0.6, 1.1), 1.1
    t = np.linspace(0, 1, 30)[:, None]
    bow = np.array([rng.normal(0, 0.15), rng.normal(0, 0.1)])
    strokes.line((1 - t) * [x0, y0] + t * [x1, y1] + np.sin(np.pi * t) * bow, 0.007, 0.40)
    ring = np.linspace(0, 2 * np.pi, 20)
    strokes.polygon(np.stack([x0 + 0.018 * np.cos(ring), y0 + 0.018 * np.sin(ring)], axis=1), 0.5)
