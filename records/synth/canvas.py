"""Drawing in body coordinates: frame, curves, smooth random fields and anti-aliased strokes.

Body coordinates: x to the right of the image (the patient's left), y downwards. The unit is half
the width of the image at magnification 1, about 21 cm. The origin is in the middle of the thorax.
Fields are float32 arrays.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.interpolate import PchipInterpolator

_REACH = 2.0  # curves are tabulated from -_REACH to +_REACH
_TABLE = 2048


class Frame:
    """The similarity transform from body coordinates to pixels of a `size` x `size` image."""

    def __init__(
        self,
        size: int,
        scale: float = 1.0,
        degrees: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.size = size
        angle = np.deg2rad(degrees)
        self._matrix = scale * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        self._shift = np.array(shift)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """The pixel positions of body points, float [..., 2]."""
        return (np.asarray(points) @ self._matrix.T + self._shift + 1) * (self.size / 2)

    def grid(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The body coordinates x and y of the pixel centres, each float32 [size, size]."""
        ticks = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
        u, v = (
            ticks[None, :] - np.float32(self._shift[0]),
            ticks[:, None] - np.float32(self._shift[1]),
        )
        inverse = np.linalg.inv(self._matrix).astype(np.float32)
        return inverse[0, 0] * u + inverse[0, 1] * v, inverse[1, 0] * u + inverse[1, 1] * v

    def length(self, body: float) -> float:
        """Converts a length from body units to pixels."""
        return float(body * np.sqrt(np.linalg.det(self._matrix)) * self.size / 2)


class Curve:
    """A curve through knots, monotone between them (PCHIP).

    It is tabulated, so that evaluating it on a whole field is a table look-up.
    """

    def __init__(self, *knots: tuple[float, float]) -> None:
        positions, values = np.array(knots, dtype=np.float64).T
        x = np.clip(np.linspace(-_REACH, _REACH, _TABLE), positions[0], positions[-1])
        self._table = PchipInterpolator(positions, values)(x).astype(np.float32)

    def __call__(self, x):
        index = (np.asarray(x) + _REACH) * ((_TABLE - 1) / (2 * _REACH)) + 0.5
        return self._table[np.clip(index, 0, _TABLE - 1).astype(np.int32)]


def smoothstep(field: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(field, np.float32(0), np.float32(1))
    return t * t * (3 - 2 * t)


def dome(field: np.ndarray) -> np.ndarray:
    """The depth of a round body between its edge (0) and its middle (1): steep, then flat."""
    t = np.clip(field, np.float32(0), np.float32(1))
    return np.sqrt(t * (2 - t))


def resize(field: np.ndarray, size: int) -> np.ndarray:
    """Resamples a float32 field (bicubic) to [size, size]."""
    return np.array(Image.fromarray(field).resize((size, size), Image.Resampling.BICUBIC))


def noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """A smooth random field, float32 [size, size], with `cells` grains across.

    Its mean is 0, its standard deviation about 1.
    """
    return resize(rng.standard_normal((cells, cells), dtype=np.float32), size) * np.float32(1.35)


def net(rng: np.random.Generator, size: int, cells: int, width: float) -> np.ndarray:
    """A net of fine lines, float32 [size, size], 0..1: where a smooth random field crosses zero."""
    field = noise(rng, size, cells)
    return np.exp(-np.square(field / np.float32(width)))


class Strokes:
    """Shapes drawn in body coordinates with anti-aliasing; later strokes cover earlier ones."""

    def __init__(self, frame: Frame, supersampling: int = 2) -> None:
        self._frame, self._by = frame, supersampling
        self._image = Image.new('L', (frame.size * supersampling,) * 2)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: np.ndarray, level: float) -> None:
        """Fills a polygon, float [n, 2], with `level`, 0..1."""
        self._draw.polygon(
            (self._frame.pixels(points) * self._by).ravel().tolist(), fill=round(255 * level)
        )

    def bone(self, path: np.ndarray, width, cortex: float = 1.0, marrow: float = 0.6) -> None:
        """Draws a long bone along `path`, float [n, 2]: bright rims, a paler middle.

        `width` is in body units, one number or one per point.
        """
        half = np.broadcast_to(np.asarray(width, dtype=np.float64) / 2, len(path))[:, None]
        along = np.gradient(path, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / (
            np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
        )
        for part, level in ((1.0, cortex), (0.55, marrow)):
            edge = across * half * part
            self.polygon(np.concatenate([path + edge, (path - edge)[::-1]]), level)

    def line(self, path: np.ndarray, width: float, level: float) -> None:
        """Draws a line along `path`, float [n, 2], `width` body units wide."""
        pixels = max(1, round(self._frame.length(width) * self._by))
        self._draw.line(
            (self._frame.pixels(path) * self._by).ravel().tolist(),
            fill=round(255 * level),
            width=pixels,
            joint='curve',
        )

    def branches(self, paths: np.ndarray, width: float, level: float) -> None:
        """Draws many polylines, float [n, points, 2], of one width (body units) and level."""
        pixels = max(1, round(self._frame.length(width) * self._by))
        fill = round(255 * level)
        for path in (self._frame.pixels(paths) * self._by).reshape(len(paths), -1).tolist():
            self._draw.line(path, fill=fill, width=pixels)

    def field(self) -> np.ndarray:
        """The drawing, float32 [size, size], 0..1."""
        return np.asarray(self._image.reduce(self._by), dtype=np.float32) * np.float32(1 / 255)


def blur(field: np.ndarray, pixels: float) -> np.ndarray:
    """Averages a float32 field, 0..1, over 2 * `pixels` + 1 pixels each way, in steps of 1/255."""
    image = Image.fromarray((np.clip(field, 0, 1) * 255 + 0.5).astype(np.uint8)).filter(
        ImageFilter.BoxBlur(pixels)
    )
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
