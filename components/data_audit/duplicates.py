"""Finds copies of films: exact ones by hash, near ones (encoded again, brightened, cropped by 2 %,
resized) by their detail.

Chest films all look alike, so likeness alone says little. Near copies are found in two steps:
1. Candidates. Coarse thumbnails are whitened by their principal components, which takes away what
  all films share; films of different
   patients are then nearly orthogonal. Locality-sensitive hashing with random hyperplanes
   (Charikar, STOC 2002) puts vectors at a small angle into the same bucket of at least one of
   several tables: sorting instead of comparing all pairs.
2. Confirmation. The detail (band-pass) of both thumbnails is aligned by one Gauss-Newton step over
  gain, shift and scale of each axis
   (Lucas & Kanade 1981, with the mean gradient of both images), and what correlation is left
   decides. With the gradient of one image alone the step is a projection that is worked out once
   for all pairs of this image: a thirtieth of the time, and less exact; pairs that fall short even
   so are not looked at further.
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
_PART = 64  # films or pairs in an array: as many as the processor's caches hold
_EDGE = 3  # thumbnail pixels at the edge that are not compared: a crop moves other content there
_BAND = (0.7, 2.0)  # standard deviations of the two Gaussians of the band-pass, in thumbnail pixels
# by how much the correlation may be less without the other image's gradient; 0.04 on 2 % crops of
# NIH films
_ROUGH = 0.15
_MAX_SHIFT = (
    0.05 * SIDE
)  # a larger displacement than of a 5 % crop is no alignment but a chance fit

_COARSE_SIGMA = 1.2
_COARSE_CROP = 4
_COMPONENTS = 32
_SAMPLE = 8192  # films from which the principal components are taken
_ALL_PAIRS_UP_TO = (
    150  # films up to which every pair is confirmed: too few for principal components
)
_BLOCK_UP_TO = 4096  # films up to which all coarse vectors are compared
_TABLES = 48
_NEIGHBOURS = (
    32  # neighbours in a bucket that are compared; bounds the work where many films share a bucket
)
# least cosine of the coarse vectors of a candidate pair; 2 % crops of NIH films have more than 0.87
_MIN_COSINE = 0.8


@dataclass(frozen=True)
class Pair:
    """Two images, `first` < `second`, as rows of the table, and the correlation of their detail."""

    first: int
    second: int
    correlation: float


def exact_groups(pixel_hash: np.ndarray, thumbnails: np.ndarray) -> list[list[int]]:
    """Rows with equal pixels, in groups of two and more; rows with an empty hash are left out."""
    groups = defaultdict(list)
    for row, digest in enumerate(pixel_hash):
        if digest:
            groups[digest, thumbnails[row].tobytes()].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def near_pairs(
    rows: np.ndarray, thumbnails: np.ndarray, min_correlation: float, threads: int = 1
) -> list[Pair]:
    """Pairs of near copies among `rows` of `thumbnails` (uint8 [n, SIDE, SIDE]).

    Give one row of each group of exact copies, and no images without content. The same input gives
    the same pairs, whatever `threads`.
    """
    if len(rows) < 2:
        return []
    candidates = rows[_candidates(thumbnails, rows)]
    with ThreadPoolExecutor(threads) as pool:
        rough = partial(_rough_scores, thumbnails, _compared(pool, thumbnails, rows))
        likely, _ = _confirmed(pool, rough, candidates, min_correlation - _ROUGH)
        found, scores = _confirmed(pool, partial(_scores, thumbnails), likely, min_correlation)
    pairs = [
        Pair(int(first), int(second), round(float(score), 4))
        for (first, second), score in zip(np.sort(found, axis=1), scores, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _confirmed(
    pool: ThreadPoolExecutor,
    score: Callable[[np.ndarray], np.ndarray],
    pairs: np.ndarray,
    least: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, int [m, 2], with a score of at least `least`, and these scores."""
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    scores = np.concatenate([np.empty(0), *pool.map(score, chunks)])
    return pairs[scores >= least], scores[scores >= least]


def _compared(pool: ThreadPoolExecutor, thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The detail of each of `rows` up to a factor, int8 [n, pixels], where it stands in
    `thumbnails`: 2 kB a film, as every film may be in many pairs. Rounding turns it by about 1 %,
    which is far less than `_ROUGH` allows for."""
    compared = np.empty((len(thumbnails), (SIDE - 2 * _EDGE) ** 2), np.int8)

    def fill(part: np.ndarray) -> None:
        flat = _inner(_detail(thumbnails[part]))
        compared[part] = np.rint(
            flat * (127 / np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-6))
        )

    for _ in pool.map(fill, _parts(rows)):
        pass
    return compared


def _rough_scores(thumbnails: np.ndarray, compared: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The share of the second film's detail that the first one's gain, shifts and scales can
    make.
    """
    firsts, at = np.unique(pairs[:, 0], return_inverse=True)
    spans = np.concatenate([_span(_detail(thumbnails[part])) for part in _parts(firsts)])
    return np.concatenate(
        [
            _rough_correlation(spans[at[part]], compared[pairs[part, 1]])
            for part in _parts(np.arange(len(pairs)))
        ]
    )


def _scores(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Aligned correlation of each pair of rows, int [m, 2]; the detail of a film is worked out
    once, however many pairs it is in.
    """
    used, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)
    details = np.concatenate([_detail(thumbnails[part]) for part in _parts(used)])
    return np.concatenate([aligned_correlation(*details[part.T]) for part in _parts(places)])


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[start : start + _PART] for start in range(0, len(values), _PART))


def _span(one: np.ndarray) -> np.ndarray:
    """What small gains, shifts and scales make of an image, as orthonormal rows: [n, SIDE, SIDE] ->
    [n, 5, pixels].
    """
    design = np.stack([_inner(column) for column in _columns(one, one)], axis=1)
    return (
        np.linalg.inv(np.linalg.cholesky(_ridged(design @ design.transpose(0, 2, 1)))) @ design
    ).astype(np.float32)


def _rough_correlation(spans: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of each of `others`, int8 [n, pixels], that lies in its span."""
    vectors = others.astype(np.float32)
    return np.linalg.norm((spans @ vectors[:, :, None])[:, :, 0], axis=1) / np.maximum(
        np.linalg.norm(vectors, axis=1), 1e-6
    )


def aligned_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of detail after alignment; float32 [n, SIDE, SIDE] twice -> float [n]; 0 where
    they do not align plausibly.
    """
    design = np.stack([_inner(column) for column in _columns(one, (one + other) / 2)], axis=2)
    target = _inner(other)
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


def _columns(one: np.ndarray, sloped: np.ndarray) -> tuple[np.ndarray, ...]:
    """The image for a gain, and what shifts and scales add to it, by the gradient of `sloped`; each
    [n, SIDE, SIDE].
    """
    down, right = np.gradient(sloped, axis=1), np.gradient(sloped, axis=2)
    place = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    return one, right, right * place[None, None, :], down, down * place[None, :, None]


def _inner(images: np.ndarray) -> np.ndarray:
    """What is compared, less its mean: [n, SIDE, SIDE] -> [n, pixels]."""
    inner = slice(_EDGE, SIDE - _EDGE)
    flat = images[:, inner, inner].reshape(len(images), -1)
    return flat - flat.mean(axis=1, keepdims=True)


def _ridged(normal: np.ndarray) -> np.ndarray:
    """Normal matrices [n, k, k] that can be solved, flat images included."""
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-9
    return normal + ridge * np.eye(normal.shape[1])


def _detail(thumbnails: np.ndarray) -> np.ndarray:
    images = thumbnails.astype(np.float32)
    fine, coarse = (gaussian_filter(images, (0, sigma, sigma), mode='nearest') for sigma in _BAND)
    return fine - coarse


def _candidates(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs that may be near copies, as places in `rows`: int [m, 2]."""
    count = len(rows)
    if count <= _ALL_PAIRS_UP_TO:
        return np.stack(np.triu_indices(count, 1), axis=1)
    vectors = _whitened(thumbnails, rows)
    if count <= _BLOCK_UP_TO:
        near = np.triu(vectors @ vectors.T >= _MIN_COSINE, 1)
        return np.argwhere(near)
    return _hashed(vectors)


def _whitened(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Unit vectors float32 [n, components] in which films of different patients are nearly
    orthogonal.
    """
    sample = _coarse(thumbnails[rows[:: max(1, len(rows) // _SAMPLE)]])
    mean = sample.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((sample - mean).T))
    kept = slice(-1, -_COMPONENTS - 1, -1)
    projection = axes[:, kept] / np.sqrt(np.maximum(variance[kept], 1e-8))
    projection = projection.astype(np.float32)
    # Batch by batch: what is projected takes thirteen times the memory of what it becomes.
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
    """Pairs that share a bucket in one of the tables and have the least cosine."""
    count = len(vectors)
    bits = int(np.ceil(np.log2(count)))
    random = np.random.default_rng(20171208)
    found = np.empty(0, dtype=np.int64)
    for _ in range(_TABLES):
        planes = random.standard_normal((vectors.shape[1], bits)).astype(np.float32)
        keys = (vectors @ planes > 0) @ (1 << np.arange(bits, dtype=np.int64))
        order = np.argsort(keys, kind='stable')
        ordered = keys[order]
        fresh = [found]
        for step in range(1, _NEIGHBOURS + 1):
            places = np.flatnonzero(ordered[:-step] == ordered[step:])
            if not len(places):
                break
            one, other = order[places], order[places + step]
            close = np.einsum('ij,ij->i', vectors[one], vectors[other]) >= _MIN_COSINE
            low, high = np.minimum(one[close], other[close]), np.maximum(one[close], other[close])
            fresh.append(low * count + high)
        found = np.unique(np.concatenate(fresh))
    return np.stack(np.divmod(found, count), axis=1)
