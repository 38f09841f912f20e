"""Draws the image of a study: `phantom`, `render` and the JPEG encoder."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image

from records.synth import canvas, signs, skeleton, thorax
from records.synth.anatomy import Pose, draw_anatomy, draw_pose, geometry
from schemas.labels import FINDINGS

# Separate random streams, so that a change to one part of the drawing does not shift the others.
_ANATOMY, _SHAPE, _TREE, _POSE, _IMAGE, _SIGNS = range(6)

QUALITY = 95  # gives the quantisation tables of the real records
SMALLEST = 64  # pixels; a smaller image no longer shows a chest


@dataclass(frozen=True)
class Study:
    """One study to draw, with the true findings, which its label may not name.

    `patient` and `number` (of the study, from 0) select the random streams; the same patient has
    the same anatomy in each study.
    """

    patient: int
    number: int
    age: int
    sex: str
    view: str
    findings: tuple[str, ...]


def phantom(
    findings: Collection[str] = (),
    *,
    seed: int = 0,
    patient: int = 1,
    study: int = 0,
    age: int = 50,
    sex: str = 'F',
    view: str = 'PA',
    size: int = 600,
) -> np.ndarray:
    """A synthetic frontal chest X-ray, uint8 [size, size], 0 black (air) to 255 white (bone).

    Args:
      findings: names of `schemas.labels.FINDINGS`; without any, the chest is normal.
      seed, patient, study: select the random streams. The same three give the same image; the
        same `seed` and `patient` give the same anatomy.
      age: years.
      sex: 'F' or 'M'.
      view: 'PA' or 'AP'.
      size: side of the image, pixels.

    Raises:
      ValueError: an unknown finding, sex or view, or a size below 64.
    """
    unknown = sorted(set(findings) - set(FINDINGS))
    if unknown:
        raise ValueError(f'unknown finding {unknown[0]!r}: expected some of {", ".join(FINDINGS)}')
    if sex not in ('F', 'M'):
        raise ValueError(f'sex is {sex!r}: expected F or M')
    if view not in ('PA', 'AP'):
        raise ValueError(f'view is {view!r}: expected PA or AP')
    ordered = tuple(name for name in FINDINGS if name in findings)
    return render(Study(patient, study, age, sex, view, ordered), seed, size)


def render(study: Study, seed: int, size: int = 600) -> np.ndarray:
    """The image of a study, uint8 [size, size]. Raises ValueError for a size below 64."""
    if size < SMALLEST:
        raise ValueError(f'size is {size} pixels: expected at least {SMALLEST}')

    def patient_stream(name: int) -> np.random.Generator:
        return np.random.default_rng([seed, name, study.patient])

    def study_stream(name: int) -> np.random.Generator:
        return np.random.default_rng([seed, name, study.patient, study.number])

    anatomy = draw_anatomy(patient_stream(_ANATOMY), study.age, study.sex)
    rng = study_stream(_IMAGE)
    pose = draw_pose(study_stream(_POSE), study.view)
    measures = geometry(anatomy, pose)
    overlays = []
    for name in study.findings:
        finding_rng = _sign_stream(name, study, seed)
        overlays.append((signs.SIGNS[name](measures, finding_rng), finding_rng))

    even_size = size + size % 2
    frame = canvas.Frame(even_size, pose.scale, pose.degrees, pose.shift)
    chest = thorax.build(measures, frame, patient_stream(_SHAPE), rng)
    for overlay, finding_rng in overlays:
        overlay(chest, finding_rng)
    return _develop(_attenuation(chest, patient_stream(_TREE), rng), pose, rng)[:size, :size]


def _sign_stream(name: str, study: Study, seed: int) -> np.random.Generator:
    """The random stream of a finding.

    A scar or tumour looks the same in all studies of a patient; fluid and infection change.
    """
    number = 0 if name in signs.LASTING else study.number
    return np.random.default_rng([seed, _SIGNS, study.patient, number, FINDINGS.index(name)])


def _attenuation(
    chest: thorax.Chest, tree: np.random.Generator, rng: np.random.Generator
) -> np.ndarray:
    """The attenuation of everything in the beam, float32 [size, size]."""
    measures, frame = chest.geometry, chest.frame
    lungs = chest.lungs()
    texture = canvas.noise(tree, lungs.shape[0], 75) * np.float32(0.012) + canvas.noise(
        tree, lungs.shape[0], 38
    ) * np.float32(0.010)
    base = chest.trunk - np.float32(measures.air) * lungs + chest.opacity
    base += lungs * (
        texture
        + np.float32(0.17 * measures.vessels)
        * skeleton.hila(measures, chest.x, chest.y)
        * np.clip(chest.airways, 0, 1)
    )
    strokes = canvas.blur(skeleton.vessels(measures, frame, tree), frame.length(0.0022))
    attenuation = canvas.resize(base, frame.size)
    attenuation += (
        canvas.resize(lungs * chest.airways * np.float32(0.125 * measures.vessels), frame.size)
        * strokes
    )
    inside = np.clip(attenuation * 8, 0, 1)
    attenuation += (
        canvas.blur(
            skeleton.ribs(measures, frame) + skeleton.girdle(measures, frame), frame.length(0.004)
        )
        * inside
    )
    return attenuation + np.float32(0.55) * skeleton.around(measures, frame, rng)


def _develop(attenuation: np.ndarray, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Turns attenuation into grey levels, uint8: exposure, scatter, grain, collimation."""
    size = attenuation.shape[0]
    grey = _curve(pose, rng)[np.clip(attenuation * 2048, 0, 4095).astype(np.int32)]
    tilt = np.linspace(-1, 1, size, dtype=np.float32)
    uneven = rng.normal(0, 0.03, 2)
    grey *= 1 + np.float32(uneven[0]) * tilt[None, :] + np.float32(uneven[1]) * tilt[:, None]
    grey += rng.standard_normal((size, size), dtype=np.float32) * np.float32(pose.grain)
    _collimate(grey, rng)
    return np.clip(grey + np.float32(0.5), 0, 255).astype(np.uint8)


def _curve(pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """The grey levels for attenuation 0..2 in 4096 steps.

    This is the characteristic curve of film: logistic in the logarithm of the exposure.
    """
    level = np.linspace(1e-3, 2, 4096)
    power = (level / pose.threshold) ** pose.contrast
    black, white = (
        (rng.uniform(6, 40), rng.uniform(205, 240))
        if pose.view == 'AP'
        else (rng.uniform(2, 16), rng.uniform(225, 252))
    )
    return (black + (white - black) * power / (1 + power)).astype(np.float32)


def _collimate(grey: np.ndarray, rng: np.random.Generator) -> None:
    """Blackens the borders that the beam did not reach, in some images, with a slanted edge."""
    size = grey.shape[0]
    for quarter in range(4):
        if rng.random() < 0.14:
            depth, slant = rng.uniform(0.005, 0.05) * size, rng.normal(0, 0.008)
            lines = np.rot90(grey, quarter)
            edge = depth + slant * (np.arange(size) - size / 2)
            most = max(int(edge.max()) + 1, 0)
            lines[:most][np.arange(most)[:, None] < edge[None, :]] = 3


def encode_jpeg(image: np.ndarray, quality: int = QUALITY) -> bytes:
    """Encodes a uint8 [height, width] image as a one-channel JPEG.

    Raises:
      ValueError: the image has another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(
            f'image is {image.dtype} {list(image.shape)}: expected uint8 [height, width]'
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'JPEG', quality=quality)
    return buffer.getvalue()
