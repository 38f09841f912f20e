"""Images for the gate of the service: those that it should accept, and those it should refuse.

Real chest X-rays come from a data root in the NIH layout, and from a folder with a subfolder for
each class. Images to be refused are drawn, or made from real ones by what goes wrong on the way:
turned, inverted, cropped.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from records import tfrecord
from records.data_root import scan
from records.intake import KEEP, Intake, Rejected
from serving.assessment import pixels

_COLLECTIONS = 'metadata/collections.csv'
# The person or examination in the file names of the pediatric set.
_PEDIATRIC_PATIENT = re.compile(r'person\d+|(?:NORMAL2-)?IM-\d+')
# Files of the NIH sample that are flawed themselves, and how. All its images were looked at to find
# them, without the gate.
_FLAWED = {
    '00017999_000.png': 'inverted',
    '00017625_000.png': 'inverted',
    '00002482_001.png': 'only_left',
}
# Drawn images have this side in pixels.
SIDE = 192

Random = np.random.Generator
Change = Callable[[Image.Image, Random], Image.Image]


@dataclass(frozen=True)
class RealImage:
    """A real chest X-ray.

    Attributes:
      content: the encoded image.
      source: the set that it comes from.
      patient: across all sets.
      flaw: a name of CHANGES, for an image that looks as if made by it; '' for an image to be
        accepted.
      image_id: of the NIH; '' elsewhere.
    """

    content: bytes
    source: str
    patient: str
    flaw: str = ''
    image_id: str = ''

    @property
    def is_held_out(self) -> bool:
        """Whether the weights of the gate are not fitted on this patient; true for a half."""
        return zlib.crc32(self.patient.encode()) % 2 == 1

    def open(self) -> Image.Image:
        """The decoded image, grey."""
        return Image.open(io.BytesIO(self.content)).convert('L')


def nih(root: Path) -> Iterator[RealImage]:
    """The images of a data root, by collection if there is a table of collections.

    Raises:
      DataRootError: the root has no records.
      ValueError: a record is not valid.
    """
    collections = {}
    if (root / _COLLECTIONS).exists():
        with open(root / _COLLECTIONS, encoding='utf-8') as stream:
            collections = {row['image_id']: row['collection'] for row in csv.DictReader(stream)}
    data_root = scan(str(root))
    intake = Intake(None, missing_metadata=KEEP)
    for file in data_root.of_spans('all'):
        for item in tfrecord.read(str(root / file.name)):
            if isinstance(item, tfrecord.Damage):
                raise ValueError(f'{root / file.name}, record {item.index}: {item.reason}')
            verdict = intake.judge(item.payload)
            if isinstance(verdict, Rejected):
                raise ValueError(f'{root / file.name}, record {item.index}: {verdict.reason}')
            image_id = verdict.record.image_id or ''
            source = f'NIH {collections.get(image_id, "")}'.strip()
            yield RealImage(
                verdict.record.image,
                source,
                f'NIH {verdict.patient_id}',
                _FLAWED.get(image_id, ''),
                image_id,
            )


def pediatric(folder: Path) -> Iterator[RealImage]:
    """The images of the pediatric set: NORMAL and PNEUMONIA in `folder`."""
    for path in sorted(folder.glob('*/*.jpeg')):
        match = _PEDIATRIC_PATIENT.match(path.name)
        patient = match.group() if match else path.name
        yield RealImage(path.read_bytes(), f'pediatric {path.parent.name}', f'pediatric {patient}')


def reduced(image: Image.Image) -> pixels.SmallImage:
    """An image as the gate sees it."""
    side = pixels.SIDE
    grey = np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    return pixels.SmallImage(grey, 0.0, *image.size)


def jpeg(image: Image.Image) -> bytes:
    """The encoded image."""
    stream = io.BytesIO()
    image.save(stream, 'JPEG', quality=90)
    return stream.getvalue()


def png(image: Image.Image) -> bytes:
    """The encoded image."""
    stream = io.BytesIO()
    image.save(stream, 'PNG')
    return stream.getvalue()


# Changes that a frontal chest X-ray stands, and stays one.


def variation(image: Image.Image, rng: Random) -> Image.Image:
    """The image with another position, exposure and processing."""
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    image = _moved(image, rng)
    gamma = np.exp(rng.normal(0, 0.4))
    low, high = rng.uniform(-0.1, 0.15), rng.uniform(0.8, 1.15)
    curve = np.clip(((np.arange(256) / 255) ** gamma - low) / (high - low), 0, 1) * 255
    image = image.point([int(level) for level in curve])
    kind = rng.random()
    if kind < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3) * image.width / SIDE))
    elif kind < 0.4:
        radius = rng.uniform(2, 12) * image.width / SIDE
        image = image.filter(ImageFilter.UnsharpMask(radius, int(rng.uniform(50, 150)), 0))
    elif kind < 0.5:
        image = ImageOps.equalize(image)
    if rng.random() < 0.3:
        _add_markers(image, rng)
    return image


def _moved(image: Image.Image, rng: Random) -> Image.Image:
    """Turned by a few degrees, shifted, and smaller or larger; also in its proportions."""
    angle = np.deg2rad(rng.normal(0, 4))
    zoom, stretch = np.exp(rng.normal(-0.03, 0.12)), np.exp(rng.normal(0, 0.08))
    across, down = np.clip([zoom * stretch, zoom / stretch], 0.65, 1.2)
    width, height = image.size
    centre = np.array([width / 2, height / 2])
    # A larger image is not also shifted far: that would crop the lungs.
    room = np.where(np.array([across, down]) > 1, 0.01, 0.03)
    shift = rng.normal(0, room) * image.size
    matrix = np.array(
        [
            [np.cos(angle) / across, np.sin(angle) / across],
            [-np.sin(angle) / down, np.cos(angle) / down],
        ]
    )
    offset = centre - matrix @ (centre + shift)
    levels = np.asarray(image)
    fill = int(rng.choice([0, 0, 255, levels[:3].mean(), levels[:, :3].mean()]))
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        (*matrix[0], offset[0], *matrix[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=fill,
    )


def _add_markers(image: Image.Image, rng: Random) -> None:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(rng.integers(1, 4)):
        x = width * rng.choice([rng.uniform(0, 0.15), rng.uniform(0.8, 0.97)])
        y = height * rng.uniform(0, 0.97)
        right, bottom = x + width * rng.uniform(0.02, 0.1), y + height * rng.uniform(0.02, 0.05)
        draw.rectangle((x, y, right, bottom), fill=int(rng.choice([255, 0])))


# Changes after which the gate should refuse the image.


def inverted(image: Image.Image, rng: Random) -> Image.Image:
    """Black and white exchanged."""
    del rng
    return ImageOps.invert(image)


def turned(angle: float) -> Change:
    """A rotation by `angle` degrees, counter-clockwise."""

    def change(image: Image.Image, rng: Random) -> Image.Image:
        del rng
        return image.rotate(angle, Image.Resampling.BILINEAR)

    return change


# Part -> whether it ends at the left, top, right, bottom edge of the whole image.
PARTS = {
    'left': (1, 1, 0, 1),
    'right': (0, 1, 1, 1),
    'top': (1, 1, 1, 0),
    'bottom': (1, 0, 1, 1),
    'centre': (0, 0, 0, 0),
}


def cropped(part: str, kept: float | None = None) -> Change:
    """A part of the image.

    Args:
      part: a name of PARTS.
      kept: the share of the width, height or (for the centre) both; None for 0.4 to 0.6.
    """

    def change(image: Image.Image, rng: Random) -> Image.Image:
        share = rng.uniform(0.4, 0.6) if kept is None else kept
        left, top, right, bottom = PARTS[part]
        width = image.width * (1 if left and right else share)
        height = image.height * (1 if top and bottom else share)
        x = 0 if left else (image.width - width) / (1 if right else 2)
        y = 0 if top else (image.height - height) / (1 if bottom else 2)
        box = (x, y, x + width, y + height)
        return image.resize(image.size, Image.Resampling.BILINEAR, box)

    return change


def darkened(factor: float) -> Change:
    """All grey levels times `factor`."""
    return lambda image, rng: ImageEnhance.Brightness(image).enhance(factor)


def brightened(factor: float) -> Change:
    """All distances from white times `factor`."""
    return lambda image, rng: image.point([int(255 - (255 - v) * factor) for v in range(256)])


# Kind of the gate -> the change that makes such an image.
CHANGES: dict[str, Change] = {
    'inverted': inverted,
    'turned_left': turned(90),
    'turned_right': turned(270),
    'upside_down': turned(180),
    **{f'only_{part}': cropped(part) for part in PARTS},
}


# Drawn images.


def _power_noise(rng: Random, exponent: float) -> np.ndarray:
    """Noise whose spectrum falls with the frequency; standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / frequency**exponent
    spectrum[0, 0] = 0
    values = np.fft.ifft2(spectrum).real
    return values / values.std()


def _image(values: np.ndarray, rng: Random) -> Image.Image:
    """Grey levels from black to white, some of them clipped."""
    low, high = np.percentile(values, (rng.uniform(0, 3), rng.uniform(97, 100)))
    levels = np.clip((values - low) / (high - low + 1e-9), 0, 1) * 255
    return Image.fromarray(levels.astype(np.uint8))


def _grain(image: Image.Image, rng: Random, strength: float, exponent: float) -> Image.Image:
    levels = np.asarray(image) + strength * _power_noise(rng, exponent)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of each pixel, -0.5..0.5."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    return x, y


def noise(rng: Random) -> Image.Image:
    """Noise, from single pixels to clouds."""
    return _image(_power_noise(rng, rng.uniform(0, 3)), rng)


def pattern(rng: Random) -> Image.Image:
    """Gradients, stripes, rings and checks."""
    x, y = _grid()
    values = rng.uniform(0, 0.2) * rng.normal(size=x.shape)
    for _ in range(rng.integers(1, 4)):
        angle, frequency = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 25)
        if rng.random() < 0.7:
            place = x * np.cos(angle) + y * np.sin(angle)
        else:
            place = np.hypot(x - rng.uniform(-0.5, 0.5), y - rng.uniform(-0.5, 0.5))
        wave = np.sin(2 * np.pi * frequency * place + rng.uniform(0, 6))
        values += np.sign(wave) if rng.random() < 0.4 else wave
    return _image(values, rng)


def objects(rng: Random) -> Image.Image:
    """Objects of many sizes in front of each other; photographs have such statistics."""
    x, y = _grid()
    values = np.zeros(x.shape)
    texture = _power_noise(rng, rng.uniform(0.8, 1.8))
    for _ in range(rng.integers(8, 80)):
        radius = min(1.0, 0.03 / rng.uniform(0.02, 1) ** rng.uniform(0.6, 1.2))
        (left, top), angle = rng.uniform(-0.5, 0.5, 2), rng.uniform(0, np.pi)
        along = ((x - left) * np.cos(angle) + (y - top) * np.sin(angle)) / radius
        across = ((y - top) * np.cos(angle) - (x - left) * np.sin(angle)) / radius
        power = rng.choice([1, 2, 2, 8])
        inside = np.abs(along) ** power + np.abs(across / rng.uniform(0.3, 1)) ** power < 1
        shade = rng.uniform(0, 1) + rng.uniform(-0.4, 0.4) * along
        values[inside] = (shade + rng.uniform(0, 0.15) * texture)[inside]
    return _image(values, rng).filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))


def scene(rng: Random) -> Image.Image:
    """Sky and ground, with houses and trees."""
    _, y = _grid()
    horizon = rng.uniform(-0.25, 0.25)
    skyline = horizon + np.cumsum(rng.normal(size=SIDE)) * rng.uniform(0, 1.5) / SIDE
    sky = rng.uniform(0.4, 1) + rng.uniform(-0.3, 0.3) * y + 0.05 * _power_noise(rng, 1.5)
    ground = rng.uniform(0, 0.6) + rng.uniform(0.02, 0.15) * _power_noise(rng, 0.8)
    image = _image(np.where(y < skyline, sky, ground), rng)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 12)):
        x, width, height = rng.uniform(-10, SIDE), rng.uniform(4, 70), rng.uniform(10, 130)
        foot = SIDE * (0.5 + horizon + rng.uniform(0, 0.4) * (0.5 - horizon))
        shade = int(rng.integers(256))
        if rng.random() < 0.5:
            draw.rectangle((x, foot - height, x + width, foot), fill=shade)
            for top in np.arange(foot - height + 4, foot - 4, 10):
                for left in np.arange(x + 3, x + width - 4, 9):
                    draw.rectangle((left, top, left + 4, top + 5), fill=int(rng.integers(256)))
        else:
            middle = x + width / 2
            draw.rectangle((middle - 2, foot - height, middle + 2, foot), fill=shade // 2)
            crown = (x, foot - height - width / 2, x + width, foot - height / 3)
            draw.ellipse(crown, fill=shade)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))


def portrait(rng: Random) -> Image.Image:
    """A head and shoulders; upright and symmetric, like a chest."""
    if rng.random() < 0.7:
        image = _image(_power_noise(rng, 1.5), rng)
    else:
        image = Image.new('L', (SIDE, SIDE), int(rng.integers(256)))
    draw = ImageDraw.Draw(image)
    body, hair, skin, eyes, mouth = (int(level) for level in rng.integers(0, 256, 5))
    x, y = SIDE * rng.uniform(0.4, 0.6), SIDE * rng.uniform(0.3, 0.55)
    width, height = SIDE * rng.uniform(0.15, 0.35), SIDE * rng.uniform(0.2, 0.42)

    def ellipse(left: float, top: float, right: float, bottom: float, fill: int) -> None:
        box = (x + left * width, y + top * height, x + right * width, y + bottom * height)
        draw.ellipse(box, fill=fill)

    ellipse(-2.2, 0.9, 2.2, 4, body)
    ellipse(-1.15, -1.2, 1.15, rng.uniform(0.2, 1.2), hair)
    ellipse(-0.4, 0.2, 0.4, 1.5, skin)
    ellipse(-1, -1, 1, 1, skin)
    for side in (-0.4, 0.4):
        ellipse(side - 0.18, -0.25, side + 0.18, -0.05, eyes)
    ellipse(-0.4, 0.4, 0.4, 0.55, mouth)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(1, 4)))
    return _grain(image, rng, rng.uniform(0, 12), 1.0)


_PAGE = (
    'the patient was seen on ward after two days of fever and cough no acute finding heart size '
    'normal lungs clear follow up in six weeks report signed doctor date name'
)
_WORDS = _PAGE.split()


def text(rng: Random) -> Image.Image:
    """A scanned page, or a page on a dark screen."""
    side = 3 * SIDE
    image = Image.new('L', (side, side), int(rng.integers(215, 256)))
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(10, 40))
    font = ImageFont.load_default(size)
    y, left, ink = rng.uniform(0, 80), rng.uniform(10, 90), int(rng.integers(0, 90))
    while y < side:
        if rng.random() < 0.85:
            line = ' '.join(rng.choice(_WORDS, rng.integers(1, 16)))
            draw.text((left, y), line, fill=ink, font=font)
        if rng.random() < 0.04:
            draw.line((left, y, side - left, y), fill=ink, width=2)
        if rng.random() < 0.03:
            box = (left, y, left + rng.uniform(50, 300), y + rng.uniform(30, 120))
            draw.rectangle(box, outline=ink, fill=int(rng.integers(100, 250)))
        y += size * rng.uniform(1.1, 1.8)
    if rng.random() < 0.25:
        image = ImageOps.invert(image)
    paper = image.getpixel((0, 0))
    image = image.rotate(rng.uniform(-4, 4), Image.Resampling.BILINEAR, fillcolor=paper)
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def bones(rng: Random) -> Image.Image:
    """A radiograph of limbs: bright shafts in grey soft tissue on black."""
    x, y = _grid()
    values = np.full(x.shape, rng.uniform(0, 0.1))
    angle = rng.uniform(0, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.2)
    across, along = (
        x * np.cos(angle) + y * np.sin(angle),
        y * np.cos(angle) - x * np.sin(angle),
    )
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        axis = rng.uniform(-0.35, 0.35) + rng.uniform(-0.3, 0.3) * along
        axis = axis + rng.uniform(-0.5, 0.5) * along**2
        radius = rng.uniform(0.04, 0.25)
        distance = np.abs(across - axis) / radius
        tissue = 0.45 * np.sqrt(np.clip(1 - distance**2, 0, 1)) * (along > rng.uniform(-2, -0.2))
        widening = 1 + rng.uniform(0, 6) * np.abs(along - rng.uniform(-0.4, 0.4)) ** 3
        bone = distance / (rng.uniform(0.2, 0.5) * widening)
        values = np.maximum(values, tissue) + 0.5 * (bone < 1) * (0.5 + 0.5 * bone**4)
    image = _image(values + rng.uniform(0, 0.03) * _power_noise(rng, 1), rng)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))


def section(rng: Random) -> Image.Image:
    """A slice of a head or body, as CT and MR show it."""
    image = Image.new('L', (SIDE, SIDE), int(rng.integers(0, 30)))
    draw = ImageDraw.Draw(image)
    x, y = SIDE * rng.uniform(0.45, 0.55, 2)
    width, height = SIDE * rng.uniform(0.3, 0.5), SIDE * rng.uniform(0.25, 0.48)
    rim = rng.uniform(0.02, 0.1) * SIDE
    for inset, low, high in ((0, 100, 256), (rim, 30, 160)):
        box = (x - width + inset, y - height + inset, x + width - inset, y + height - inset)
        draw.ellipse(box, fill=int(rng.integers(low, high)))
    for _ in range(rng.integers(2, 14)):
        aside, top = width * rng.uniform(-0.6, 0.6), y + height * rng.uniform(-0.6, 0.6)
        radius, flatness = rng.uniform(0.05, 0.4) * width, rng.uniform(0.4, 1)
        level = int(rng.integers(0, 220))
        sides = (1, -1) if rng.random() < 0.5 else (1,)
        for side in sides:
            middle = x + side * aside
            box = (
                middle - radius,
                top - radius * flatness,
                middle + radius,
                top + radius * flatness,
            )
            draw.ellipse(box, fill=level)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return _grain(image, rng, rng.uniform(2, 14), rng.uniform(0, 1.2))


# Kind -> draws an image that is not a chest X-ray.
DRAWN: dict[str, Callable[[Random], Image.Image]] = {
    'noise': noise,
    'patterns': pattern,
    'photographs: objects': objects,
    'photographs: scenes': scene,
    'photographs: portraits': portrait,
    'scanned text': text,
    'radiographs of limbs': bones,
    'slices of CT and MR': section,
}
