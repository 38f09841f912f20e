"""Finds exact copies of images by hash, and near copies by their detail.

Near copies are images that were encoded again, brightened, cropped by 2 % or resized. All chest
X-rays look alike, so similarity alone is not enough. The search has two steps:

1. Candidates. Principal components whiten the coarse thumbnails, which removes what all images
   share: images of different patients become nearly orthogonal. Locality-sensitive hashing with
   random hyperplanes (Charikar, STOC 2002) puts vectors at a small angle into the same bucket of at
   least one of several tables. Sorting then replaces the comparison of all pairs.
2. Confirmation. One Gauss-Newton step over gain, shift and scale of each axis aligns the detail
   (band-pass) of both thumbnails (Lucas and Kanade 1981, with the mean gradient of both images).
   The correlation after alignment decides. Before, a rough version of the step rejects most pairs.
   It uses the gradient of one image, so it is a projection that is computed once for all pairs of
   that image. It takes a thirtieth of the time and is less exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from components.data_audit.inspection import SIDE

_BATCH = 1024
_CHUNK = 1024  # candidate pairs that a thread confirms at a time
_PART = 64  # images or pairs in an array that fits into the processor's caches
_EDGE = 3  # thumbnail pixels at the edge that are not compared: a crop moves other content there
_BAND = (0.7, 2.0)  # standard deviations of the two Gaussians of the band-pass, in thumbnail pixels
# How far the rough correlation may be below the exact one; 2 % crops of NIH images need 0.04.
_ROUGH = 0.15
# In thumbnail pixels. A 5 % crop moves pixels no farther; a larger shift is a chance fit.
_MAX_SHIFT = 0.05 * SIDE

_COARSE_SIGMA = 1.2
_COARSE_CROP = 4
_COMPONENTS = 32
_SAMPLE = 8192  # images from which the principal components are computed
# Up to this number of images, every pair is a candidate: they are too few for principal components.
_ALL_PAIRS_UP_TO = 150
_BLOCK_UP_TO = 4096  # images up to which all coarse vectors are compared
_TABLES = 48
# Neighbours in a bucket that are compared; this bounds the work if many images share a bucket.
_NEIGHBOURS = 32
# Least cosine of the coarse vectors of a candidate pair; 2 % crops of NIH images exceed 0.87.
_MIN_COSINE = 0.8


@dataclass(frozen=True)
class Pair:
    """Two images that are near copies.

    Attributes:
      first, second: rows of the table; `first` is less.
      correlation: 0..1, of their detail.
    """

    first: int
    second: int
    correlation: float


def exact_groups(pixel_hash: np.ndarray, thumbnails: np.ndarray) -> list[list[int]]:
    """Groups rows with equal pixels.

    Args:
      pixel_hash: object [n], bytes; rows with b'' are left out.
      thumbnails: uint8 [n, SIDE, SIDE].

    Returns:
      Groups of two or more rows, each in ascending order.
    """
    groups = defaultdict(list)
    for row, digest in enumerate(pixel_hash):
        if digest:
            groups[digest, thumbnails[row].tobytes()].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def near_pairs(
    rows: np.ndarray, thumbnails: np.ndarray, min_correlation: float, threads: int = 1
) -> list[Pair]:
    """Finds pairs of near copies. The result does not depend on `threads`.

    Args:
      rows: int [m], the rows to compare: one of each group of exact copies, and only images with
        detail.
      thumbnails: uint8 [n, SIDE, SIDE].
      min_correlation: 0..1, of a pair's detail.
      threads: at least 1.

    Returns:
      The pairs, sorted by their rows.
    """
    if len(rows) < 2:
        return []
    candidates = rows[_candidates(thumbnails, rows)]
    with ThreadPoolExecutor(threads) as pool:
        rough = partial(_rough_scores, thumbnails, _packed_details(pool, thumbnails, rows))
        likely, _ = _confirmed(pool, rough, candidates, min_correlation - _ROUGH)
        copies, scores = _confirmed(pool, partial(_scores, thumbnails), likely, min_correlation)
    pairs = [
        Pair(int(first), int(second), round(float(score), 4))
        for (first, second), score in zip(np.sort(copies, axis=1), scores, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _confirmed(
    pool: ThreadPoolExecutor,
    score: Callable[[np.ndarray], np.ndarray],
    pairs: np.ndarray,
    least: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, int [m, 2], with a score of at least `least`, and their scores, float [m]."""
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    scores = np.concatenate([np.empty(0), *pool.map(score, chunks)])
    return pairs[scores >= least], scores[scores >= least]


def _packed_details(
    pool: ThreadPoolExecutor, thumbnails: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The detail of each of `rows`, scaled to int8 [n, pixels]; other rows are not set.

    Each image may be in many pairs, so all details stay in memory, 2 kB for each. Rounding turns
    the vectors by about 1 %, far less than `_ROUGH` allows.
    """
    packed = np.empty((len(thumbnails), (SIDE - 2 * _EDGE) ** 2), np.int8)

    def fill(part: np.ndarray) -> None:
        flat = _inner(_detail(thumbnails[part]))
        packed[part] = np.rint(
            flat * (127 / np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-6))
        )

    for _ in pool.map(fill, _parts(rows)):
        pass
    return packed


def _rough_scores(thumbnails: np.ndarray, packed: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The rough correlation of each pair, float [m].

    It is the share of the second image's detail that a gain, shifts and scales of the first image
    can produce.
    """
    firsts, first_index = np.unique(pairs[:, 0], return_inverse=True)
    spans = np.concatenate([_span(_detail(thumbnails[part])) for part in _parts(firsts)])
    return np.concatenate(
        [
            _rough_correlation(spans[first_index[part]], packed[pairs[part, 1]])
            for part in _parts(np.arange(len(pairs)))
        ]
    )


def _scores(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The aligned correlation of each pair of rows, int [m, 2] -> float [m].

    It computes the detail of each image once, in however many pairs it is.
    """
    rows, positions = np.unique(pairs, return_inverse=True)
    positions = positions.reshape(pairs.shape)
    details = np.concatenate([_detail(thumbnails[part]) for part in _parts(rows)])
    return np.concatenate([aligned_correlation(*details[part.T]) for part in _parts(positions)])


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[start : start + _PART] for start in range(0, len(values), _PART))


def _span(first: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what small gains, shifts and scales of an image can produce.

    [n, SIDE, SIDE] -> [n, 5, pixels].
    """
    design = np.stack([_inner(column) for column in _columns(first, first)], axis=1)
    return (
        np.linalg.inv(np.linalg.cholesky(_ridged(design @ design.transpose(0, 2, 1)))) @ design
    ).astype(np.float32)


def _rough_correlation(spans: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """The share of each vector, int8 [n, pixels], that is in its span, [n, 5, pixels]."""
    vectors = packed.astype(np.float32)
    return np.linalg.norm((spans @ vectors[:, :, None])[:, :, 0], axis=1) / np.maximum(
        np.linalg.norm(vectors, axis=1), 1e-6
    )


def aligned_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The correlation of the details of two images after alignment.

    Args:
      first, second: float32 [n, SIDE, SIDE].

    Returns:
      float [n], 0..1; 0 for a pair that needs an implausible gain or shift.
    """
    design = np.stack([_inner(column) for column in _columns(first, (first + second) / 2)], axis=2)
    target = _inner(second)
    moment = (target[:, None, :] @ design)[:, 0, :, None]
    solution = np.linalg.solve(_ridged(design.transpose(0, 2, 1) @ design), moment)
    residual = target - (design @ solution)[:, :, 0]
    explained = 1 - (residual**2).sum(axis=1) / np.maximum((target**2).sum(axis=1), 1e-9)
    gain = solution[:, 0, 0]
    reach = SIDE / 2 - _EDGE
    moved = (
        np.abs(solution[:, 1:, 0])
        * np.array([1, reach, 1, reach])
        / np.maximum(np.abs(gain), 1e-3)[:, None]
    )
    plausible = (gain > 0.3) & (moved.max(axis=1) <= _MAX_SHIFT)
    return np.where(plausible, np.sqrt(np.clip(explained, 0, 1)), 0.0)


def _columns(images: np.ndarray, sloped: np.ndarray) -> tuple[np.ndarray, ...]:
    """The change of images with gain, horizontal shift and scale, vertical shift and scale.

    Shifts and scales use the gradient of `sloped`. All arrays are [n, SIDE, SIDE].
    """
    down, right = np.gradient(sloped, axis=1), np.gradient(sloped, axis=2)
    offset = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    return images, right, right * offset[None, None, :], down, down * offset[None, :, None]


def _inner(images: np.ndarray) -> np.ndarray:
    """The compared pixels of images, with mean 0: [n, SIDE, SIDE] -> [n, pixels]."""
    inner = slice(_EDGE, SIDE - _EDGE)
    flat = images[:, inner, inner].reshape(len(images), -1)
    return flat - flat.mean(axis=1, keepdims=True)


def _ridged(normal: np.ndarray) -> np.ndarray:
    """Adds a ridge to normal matrices, [n, k, k], so that they are regular even for flat images."""
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-9
    return normal + ridge * np.eye(normal.shape[1])


def _detail(thumbnails: np.ndarray) -> np.ndarray:
    images = thumbnails.astype(np.float32)
    fine, coarse = (gaussian_filter(images, (0, sigma, sigma), mode='nearest') for sigma in _BAND)
    return fine - coarse


def _candidates(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs that may be near copies, as positions in `rows`: int [m, 2]."""
    count = len(rows)
    if count <= _ALL_PAIRS_UP_TO:
        return np.stack(np.triu_indices(count, 1), axis=1)
    vectors = _whitened(thumbnails, rows)
    if count <= _BLOCK_UP_TO:
        near = np.triu(vectors @ vectors.T >= _MIN_COSINE, 1)
        return np.argwhere(near)
    return _hashed(vectors)


def _whitened(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Unit vectors, float32 [n, components], nearly orthogonal for images of different patients."""
    sample = _coarse(thumbnails[rows[:: max(1, len(rows) // _SAMPLE)]])
    mean = sample.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((sample - mean).T))
    largest = slice(-1, -_COMPONENTS - 1, -1)
    projection = axes[:, largest] / np.sqrt(np.maximum(variance[largest], 1e-8))
    projection = projection.astype(np.float32)
    # Project in batches: the input takes thirteen times as much memory as the result.
    batches = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
    vectors = np.concatenate(
        [(_coarse(thumbnails[batch]) - mean) @ projection for batch in batches]
    )
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _coarse(thumbnails: np.ndarray) -> np.ndarray:
    images = gaussian_filter(
        thumbnails.astype(np.float32), (0, _COARSE_SIGMA, _COARSE_SIGMA), mode='nearest'
    )
    half = (SIDE - 2 * _COARSE_CROP) // 2
    inner = images[:, _COARSE_CROP:-_COARSE_CROP, _COARSE_CROP:-_COARSE_CROP]
    flat = inner.reshape(len(images), half, 2, half, 2).mean((2, 4)).reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _hashed(vectors: np.ndarray) -> np.ndarray:
    """Pairs that share a bucket in a table and have a cosine of `_MIN_COSINE` or more, [m, 2]."""
    count = len(vectors)
    bits = int(np.ceil(np.log2(count)))
    random = np.random.default_rng(20171208)
    pairs = np.empty(0, dtype=np.int64)
    for _ in range(_TABLES):
        planes = random.standard_normal((vectors.shape[1], bits)).astype(np.float32)
        keys = (vectors @ planes > 0) @ (1 << np.arange(bits, dtype=np.int64))
        order = np.argsort(keys, kind='stable')
        ordered = keys[order]
        parts = [pairs]
        for step in range(1, _NEIGHBOURS + 1):
            positions = np.flatnonzero(ordered[:-step] == ordered[step:])
            if not len(positions):
                break
            first, second = order[positions], order[positions + step]
            close = np.einsum('ij,ij->i', vectors[first], vectors[second]) >= _MIN_COSINE
            first, second = first[close], second[close]
            parts.append(np.minimum(first, second) * count + np.maximum(first, second))
        pairs = np.unique(np.concatenate(parts))
    return np.stack(np.divmod(pairs, count), axis=1)
