"""Measures the gate before the model: what it accepts, what it refuses, and how long it takes.

    python -m benchmarks.assessment --data-root DIR --pediatric DIR

The real images are of patients on whom the gate was not fitted. `--others DIR` adds a folder of
images that are not frontal chest X-rays, such as photographs or lateral views; neither the project
nor its data sets have any. Each column of the first two tables is the gate with that leniency added
to all limits; the service uses 0. Rules do not change.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import scale
from experiments import assessment_images as images
from experiments.assessment_images import Change, RealImage
from records.images import check, decode_stored
from records.synth import population, rendering
from serving import assessment
from serving.assessment import gate, pixels

LENIENCIES = (-3.0, -1.5, 0.0, 1.5, 3.0, 6.0)
IMAGES = 300
_SYNTHETIC_SEED = 11
# Random numbers for the changes and the drawn images, apart from those of the fit.
_CHANGED, _DRAWN, _OTHERS = 101, 102, 103
_PARTS_OF_OTHERS = 10
_TIMED_SIZES = ((600, 600), (2048, 2500))
_SUFFIXES = ('.png', '.jpg', '.jpeg')
# Title -> strength -> the change.
_STRENGTHS: dict[str, dict[str, Change]] = {
    'darkened, grey levels times': {
        str(factor): images.darkened(factor) for factor in (0.8, 0.6, 0.4, 0.3, 0.2, 0.1)
    },
    'brightened, distance from white times': {
        str(factor): images.brightened(factor) for factor in (0.8, 0.6, 0.4, 0.3, 0.2, 0.1)
    },
    'turned by, degrees': {
        str(angle): images.turned(angle) for angle in (5, 10, 20, 30, 45, 60, 90)
    },
    **{
        f'only the {part}, share kept': {
            str(share): images.cropped(part, share) for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
        }
        for part in images.PARTS
    },
}


@dataclass(frozen=True)
class Look:
    """What the gate sees in an image: the reason of a rule, or else the evidence."""

    rule: str
    evidence: Mapping[str, float]

    def reason(self, leniency: float = 0.0) -> str:
        """The gate's reason."""
        return self.rule or gate.by_evidence(dict(self.evidence), leniency)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to assessment.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', type=Path, required=True, help='NIH images')
    parser.add_argument('--pediatric', type=Path, required=True, help='folder of the set')
    parser.add_argument('--others', type=Path, help='folder of images to be refused')
    parser.add_argument(
        '--images', type=int, default=IMAGES, help='images of each kind that is drawn or changed'
    )
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    every = (*images.nih(args.data_root), *images.pediatric(args.pediatric))
    real = [image for image in every if image.is_held_out and not image.flaw]
    accepted = to_be_accepted(real, args.images)
    chosen = _sample(real, args.images)
    flawed = {'real, flawed': [look(image.content) for image in every if image.flaw]}
    refused = flawed | to_be_refused(chosen, args.images, args.others)
    strengths = by_strength(chosen[: max(1, args.images // 2)])
    milliseconds = times(chosen[:12])
    for table in (
        _curves('share accepted', accepted, lambda reason: not reason),
        _curves('share refused', refused, bool),
        _reasons({**accepted, **refused}),
        *(_strength_table(title, shares) for title, shares in strengths.items()),
        _times_table(milliseconds),
    ):
        console.print(table)
    args.scratch.mkdir(parents=True, exist_ok=True)
    (args.scratch / 'assessment.json').write_text(
        json.dumps(
            {
                'accepted': _shares(accepted, lambda reason: not reason),
                'refused': _shares(refused, bool),
                'refused_by_strength': strengths,
                'milliseconds': milliseconds,
            },
            indent=1,
        )
    )


def look(content: bytes) -> Look:
    """What the gate sees in an encoded image.

    Raises:
      ValueError: it cannot be decoded, so the gate leaves it to the model.
    """
    image = pixels.read(content)
    if image is None:
        raise ValueError('an image that the gate cannot decode')
    return Look(gate.by_rule(image), gate.evidence(image))


def to_be_accepted(real: Iterable[RealImage], count: int) -> dict[str, list[Look]]:
    """Set -> what the gate sees in its frontal chest X-rays, real and synthetic."""
    looks = defaultdict(list)
    for image in track(list(real), description='real images', transient=True):
        looks[image.source].append(look(image.content))
    studies = population.draw(count, _SYNTHETIC_SEED, 0.0)[:count]
    looks['synthetic images of the demo'] = [
        look(rendering.encode_jpeg(rendering.render(study.study, _SYNTHETIC_SEED)))
        for study in track(studies, description='synthetic images', transient=True)
    ]
    return dict(sorted(looks.items()))


def to_be_refused(
    real: Sequence[RealImage], count: int, others: Path | None
) -> dict[str, list[Look]]:
    """Kind -> what the gate sees in images to be refused."""
    looks = {}
    for name, change in images.CHANGES.items():
        looks[name.replace('_', ' ')] = _changed(real, change)
    for number, (name, draw) in enumerate(images.DRAWN.items()):
        looks[name] = [
            look(images.jpeg(draw(np.random.default_rng([_DRAWN, number, seed]))))
            for seed in track(range(count), description=name, transient=True)
        ]
    if others:
        looks['others, whole'] = [look(images.jpeg(image)) for image in _others(others, 0)]
        looks['others, parts'] = [
            look(images.jpeg(image)) for image in _others(others, _PARTS_OF_OTHERS)
        ]
    return looks


def by_strength(real: Sequence[RealImage]) -> dict[str, dict[str, float]]:
    """Change -> its strength -> share of images refused."""
    return {
        title: {
            strength: statistics.fmean(
                bool(sight.reason()) for sight in _changed(real, change, title)
            )
            for strength, change in changes.items()
        }
        for title, changes in _STRENGTHS.items()
    }


def times(real: Sequence[RealImage]) -> dict[str, dict[str, float]]:
    """Format and size -> median milliseconds of decoding an image, and of the gate, in turn."""
    result = {}
    for width, height in _TIMED_SIZES:
        for name, encode in (('JPEG', images.jpeg), ('PNG', images.png)):
            seconds = []
            for image in real:
                content = encode(image.open().resize((width, height)))
                start = time.perf_counter()
                decode_stored(content, check(content))
                middle = time.perf_counter()
                assessment.reason(content)
                seconds.append((middle - start, time.perf_counter() - middle))
            medians = 1e3 * np.median(seconds, axis=0)
            result[f'{name}, {width} x {height}'] = {
                'decoding': float(medians[0]),
                'gate': float(medians[1]),
            }
    return result


def _changed(real: Sequence[RealImage], change: Change, title: str = 'changes') -> list[Look]:
    return [
        look(images.jpeg(change(image.open(), np.random.default_rng([_CHANGED, number]))))
        for number, image in enumerate(track(real, description=title, transient=True))
    ]


def _others(folder: Path, parts: int) -> list[Image.Image]:
    """The images of a folder, grey: the gate must not rely on colours. Or parts of them."""
    rng = np.random.default_rng(_OTHERS)
    result = []
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        with Image.open(path) as stored:
            image = stored.convert('L')
        if min(image.size) < images.SIDE:
            continue
        if not parts:
            result.append(image)
        for _ in range(parts):
            share = rng.uniform(0.4, 0.9)
            width, height = image.width * share, image.height * share
            x, y = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            size = (2 * images.SIDE, 2 * images.SIDE)
            result.append(image.resize(size, box=(x, y, x + width, y + height)))
    return result


def _sample(real: Sequence[RealImage], count: int) -> list[RealImage]:
    """Images in random order, as many of the NIH set as of the pediatric one."""
    rng = np.random.default_rng(_CHANGED)
    nih = [image for image in real if image.source.startswith('NIH')]
    others = [image for image in real if not image.source.startswith('NIH')]
    pairs = zip(rng.permutation(len(nih)), rng.permutation(len(others)), strict=False)
    return [image for a, b in pairs for image in (nih[a], others[b])][:count]


def _shares(
    looks: Mapping[str, Sequence[Look]], counts: Callable[[str], bool]
) -> dict[str, dict[str, float]]:
    return {
        name: {
            f'{leniency:+g}': statistics.fmean(
                bool(counts(sight.reason(leniency))) for sight in sights
            )
            for leniency in LENIENCIES
        }
        for name, sights in looks.items()
    }


def _curves(
    title: str, looks: Mapping[str, Sequence[Look]], counts: Callable[[str], bool]
) -> Table:
    table = Table(box=None, pad_edge=False, title=title)
    table.add_column('leniency')
    table.add_column('images', justify='right')
    for leniency in LENIENCIES:
        table.add_column(f'{leniency:+g}' if leniency else '0', justify='right')
    for name, shares in _shares(looks, counts).items():
        cells = [f'{share:.4f}' for share in shares.values()]
        table.add_row(name, f'{len(looks[name]):,}', *cells)
    return table


def _reasons(looks: Mapping[str, Sequence[Look]]) -> Table:
    table = Table(box=None, pad_edge=False, title='reasons')
    table.add_column('images')
    table.add_column('accepted, and refused with each reason')
    for name, sights in looks.items():
        counts = Counter(sight.reason() or 'accepted' for sight in sights)
        table.add_row(name, ', '.join(f'{reason} {n:,}' for reason, n in counts.most_common()))
    return table


def _strength_table(title: str, shares: Mapping[str, float]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title, width=40)
    for strength in shares:
        table.add_column(strength, justify='right')
    table.add_row('share refused', *(f'{share:.3f}' for share in shares.values()))
    return table


def _times_table(milliseconds: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column('one image', width=40)
    for name in ('decoding, ms', 'gate, ms', 'gate over decoding'):
        table.add_column(name, justify='right')
    for name, row in milliseconds.items():
        values = (row['decoding'], row['gate'], row['gate'] / row['decoding'])
        table.add_row(name, *(f'{value:.2f}' for value in values))
    return table


if __name__ == '__main__':
    main()
