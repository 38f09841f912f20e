"""Makes a picture of a heat map."""

from __future__ import annotations

import numpy as np


def grey(heat: np.ndarray) -> np.ndarray:
    """A heat map as uint8 [height, width]: 255 where it is highest, 0 where it is not above 0.

    Args:
      heat: float [height, width], the log-odds that each part of the image adds.
    """
    top = float(np.max(heat, initial=0.0))
    scaled = np.clip(heat, 0.0, None) / top if top > 0 else np.zeros_like(heat)
    return np.rint(scaled * 255).astype(np.uint8)
