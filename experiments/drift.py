"""Measures which changes of traffic the monitor notices, and how often it alarms without one.

    python -m experiments.drift --data-root DIR --pediatric DIR [--model VERSION]

It compares descriptors, and the answers and embeddings of a model if one is given. A window is as
many images as --window, of whole patients. The reference is the other patients of the official
training list of the NIH.

* False alarms: random halves of the training list, by patient, against each other.
* The official test list, which has more abnormal and more bedside images, against the training
  list; and windows of it.
* Power: in windows of the training list, a share of the images is changed, or replaced by images of
  children. What was changed keeps the format and the JPEG tables of its file.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

from experiments import assessment_images as images
from experiments.official_list import test_list
from monitoring import embeddings, reference, sample, two_sample
from monitoring.sample import FLAG, NOT_ASSESSED, PROBABILITY, VECTORS, Sample
from records.parallel import default_workers, ordered_map
from schemas import signatures
from serving.assessment import description
from serving.assessment.description import Description

Change = Callable[[Image.Image], Image.Image]
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
_ALPHA, _LEVEL = 0.01, 0.95
# An image is described once with each change.
_CHANGED = 300
_DETECTED = 0.8


def _crop(image: Image.Image) -> Image.Image:
    """Four fifths of width and height, from the centre."""
    width, height = image.size
    return image.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10)).resize(
        image.size, Image.Resampling.BICUBIC
    )


def _window(image: Image.Image) -> Image.Image:
    """Narrower window: the middle 70 % of the grey levels become all of them."""
    return image.point([int(np.clip((level - 38) / 0.7, 0, 255)) for level in range(256)])


CHANGES: dict[str, Change] = {
    'written again, unchanged': lambda image: image,
    'inverted': ImageOps.invert,
    'blurred, sigma 1 pixel': lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    'recompressed, quality 30': lambda image: image,
    'cropped to 80 %': _crop,
    'narrower window': _window,
}
_RECOMPRESSED = 'recompressed, quality 30'
CHILDREN = 'children'


@dataclasses.dataclass(frozen=True)
class Traffic:
    """All that windows are drawn from.

    Attributes:
      training, official: images of the NIH's two lists.
      changed: name -> changed images of the training list, or other images.
    """

    training: Sample
    official: Sample
    changed: dict[str, Sample]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to drift.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', type=Path, required=True, help='NIH images')
    parser.add_argument('--pediatric', type=Path, required=True, help='folder of the set')
    parser.add_argument(
        '--model', default='', help='folder of a pushed version (default: descriptors alone)'
    )
    parser.add_argument('--scratch', type=Path, default=Path('runs/experiments'))
    parser.add_argument('--draws', type=int, default=500, help='random halves (default: 500)')
    parser.add_argument('--windows', type=int, default=50, help='windows of each kind and share')
    parser.add_argument('--window', type=int, default=500, help='images of a window')
    parser.add_argument('--permutations', type=int, default=199)
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    args.scratch.mkdir(parents=True, exist_ok=True)
    traffic = load(args.data_root, args.pediatric, args.scratch, args.model)
    results = measure(traffic, args.draws, args.windows, args.window, args.permutations)
    (args.scratch / 'drift.json').write_text(json.dumps(results, indent=1))
    show(console, results)


def load(root: Path, pediatric: Path, scratch: Path, model: str = '') -> Traffic:
    """Describes all images; finished descriptions are kept under `scratch`.

    Args:
      root, pediatric: folders of the images.
      scratch: a folder.
      model: folder of a SavedModel whose answers belong to the descriptions; '' for none.

    Raises:
      DataRootError, MetadataError: there are no records, or no test list.
    """
    official = test_list(root)
    lists: dict[str, list[images.RealImage]] = {'training': [], 'official': []}
    for image in images.nih(root):
        lists['official' if image.image_id in official else 'training'].append(image)
    some = _some(lists['training'])

    def described(name: str, chosen: list[images.RealImage]) -> Sample:
        path = scratch / f'drift-{_key(root, pediatric, model, name)}.npz'
        if not path.exists():
            contents = (
                change(image.content, name) if name in CHANGES else image.content
                for image in chosen
            )
            found = track(
                ordered_map(_describe, _answered(model, contents), default_workers()),
                description=name,
                total=len(chosen),
                transient=True,
            )
            reference.save(path, _sample([image.patient for image in chosen], list(found)))
        return reference.load_sample(dict(np.load(path)))

    return Traffic(
        described('training', lists['training']),
        described('official', lists['official']),
        {name: described(name, some) for name in CHANGES}
        | {CHILDREN: described(CHILDREN, _some(list(images.pediatric(pediatric))))},
    )


def _some(found: list[images.RealImage]) -> list[images.RealImage]:
    rows = np.random.default_rng(0).choice(len(found), min(_CHANGED, len(found)), replace=False)
    return [found[row] for row in rows]


def _key(root: Path, pediatric: Path, model: str, name: str) -> str:
    """Other images, models, changes or descriptors give another file."""
    code = Path(description.__file__).read_bytes() + inspect.getsource(change).encode()
    return hashlib.sha256(
        f'{root.resolve()} {pediatric.resolve()} {model} {name}'.encode() + code
    ).hexdigest()[:8]


def _answered(model: str, contents: Iterable[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    if not model:
        yield from ((content, {}) for content in contents)
        return
    for _, content, outputs in embeddings.answers(model, ((None, c) for c in contents)):
        yield content, outputs


def _describe(
    work: tuple[bytes, dict[str, Any]],
) -> tuple[Description | None, dict[str, Any]]:
    content, outputs = work
    return description.describe(content), outputs


def _sample(
    groups: list[str], found: Sequence[tuple[Description | None, dict[str, Any]]]
) -> Sample:
    # The service refuses these, before or after the model.
    refused = np.array([item is None or bool(item.reason) for item, _ in found])
    answered = [{} if gone else outputs for gone, (_, outputs) in zip(refused, found, strict=True)]
    columns = {NOT_ASSESSED: refused.astype(np.float64)} | {
        column: np.array([outputs.get(name, np.nan) for outputs in answered], np.float64)
        for column, name in (
            (PROBABILITY, signatures.PROBABILITY),
            (FLAG, signatures.FLAG),
        )
    }
    seen = [outputs.get(signatures.EMBEDDING) for outputs in answered]
    return sample.build(groups, [item for item, _ in found], seen, columns)


def change(content: bytes, name: str) -> bytes:
    """An image with a change, in the format and with the tables of its file."""
    image = Image.open(io.BytesIO(content))
    tables = getattr(image, 'quantization', None)
    changed = CHANGES[name](image.convert('L'))
    stream = io.BytesIO()
    if name == _RECOMPRESSED:
        # And then stored again as all others are.
        changed.save(stream, 'JPEG', quality=30)
        changed = Image.open(io.BytesIO(stream.getvalue())).convert('L')
        stream = io.BytesIO()
    if tables:
        changed.save(stream, 'JPEG', qtables={0: tables[0]})
    else:
        changed.save(stream, 'PNG')
    return stream.getvalue()


def measure(
    traffic: Traffic, draws: int, windows: int, size: int, permutations: int
) -> dict[str, dict]:
    """All figures, for JSON."""
    rng = np.random.default_rng(1)
    p_values = [
        two_sample.compare(*halves(traffic.training, rng), permutations, seed).p_value
        for seed in track(range(draws), description='random halves', transient=True)
    ]
    whole = two_sample.compare(traffic.training, traffic.official, 999)
    results: dict[str, dict] = {
        'halves': {
            str(alpha): _share(np.array(p_values) <= alpha) for alpha in (_ALPHA, 0.05, 0.1)
        },
        'official': {
            'reference': whole.reference,
            'window': whole.window,
            'p_value': whole.p_value,
            'alarms': [dataclasses.asdict(item) for item in two_sample.alarms(whole, _ALPHA)],
        },
        'power': {},
    }
    power: dict[str, dict] = results['power']
    jobs: list[tuple[str, Sample, tuple[float, ...]]] = [
        ('no change', traffic.training, (0.0,)),
        ('official test list', traffic.official, (*SHARES, 1.0)),
        *((name, changed, SHARES) for name, changed in traffic.changed.items()),
    ]
    for name, changed, shares in jobs:
        for share in track(shares, description=name, transient=True):
            detected = []
            for seed in range(windows):
                reference, window = drawn_window(traffic.training, changed, share, size, rng)
                p_value = two_sample.compare(reference, window, permutations, seed).p_value
                detected.append(p_value <= _ALPHA)
            power.setdefault(name, {})[str(share)] = _share(np.array(detected))
    return results


def halves(images_: Sample, rng: np.random.Generator) -> tuple[Sample, Sample]:
    """Two random halves, by patient."""
    names = np.unique(images_.groups)
    first = rng.choice(names, len(names) // 2, replace=False)
    is_first = np.isin(images_.groups, first)
    return images_.take(is_first), images_.take(~is_first)


def drawn_window(
    images_: Sample, changed: Sample, share: float, size: int, rng: np.random.Generator
) -> tuple[Sample, Sample]:
    """A reference, and a window of `size` images of other patients, a share of them changed."""
    names = rng.permutation(np.unique(images_.groups))
    order = np.argsort([np.flatnonzero(names == group)[0] for group in images_.groups])
    count = round(share * size)
    kept = order[: size - count]
    own = images_.take(kept)
    own_patients = np.unique(own.groups)
    candidates = np.flatnonzero(~np.isin(changed.groups, own_patients))
    other = changed.take(rng.choice(candidates, count, replace=count > len(candidates)))
    window = sample.join(own, other)
    rest = ~np.isin(images_.groups, np.unique(window.groups))
    return images_.take(rest), window


def smallest_detected(row: dict[str, tuple[float, ...]]) -> str:
    """The smallest share from which on at least _DETECTED of the windows alarm."""
    smallest = ''
    for share in sorted(row, key=float, reverse=True):
        if row[share][0] < _DETECTED:
            break
        smallest = f'{float(share):.0%}'
    return smallest or f'above {max(map(float, row)):.0%}'


def show(console: Console, results: dict[str, dict]) -> None:
    """Prints the tables."""
    false = Table('stated false-alarm rate', 'random halves that alarm', box=None, pad_edge=False)
    for alpha, figure in results['halves'].items():
        false.add_row(alpha, _text(figure))
    console.print(false)
    official = results['official']
    console.print(
        f'\nOfficial test list ({official["window"]} images) against the training list '
        f'({official["reference"]}): p = {official["p_value"]:.3f}'
    )
    for item in official['alarms']:
        means = (
            '' if item['name'] in VECTORS else f': {item["reference"]:.3f} -> {item["window"]:.3f}'
        )
        console.print(f'  {two_sample.TITLES[item["name"]]}{means}, p = {item["p_value"]:.3f}')
    power = Table(
        'share of windows that alarm at 0.01', *(f'{s:.0%}' for s in (*SHARES, 1)), box=None
    )
    power.add_column(f'{_DETECTED:.0%} detected from')
    for name, row in results['power'].items():
        if list(row) == ['0.0']:
            console.print(f'\nWindows without a change that alarm: {_text(row["0.0"])}')
            continue
        cells = (f'{row[s][0]:.0%}' if s in row else '–' for s in map(str, (*SHARES, 1.0)))
        power.add_row(name, *cells, smallest_detected(row))
    console.print(power)


def _share(events: np.ndarray) -> tuple[float, float, float, int]:
    """The share, its exact interval (Clopper and Pearson), and the number of draws."""
    result = stats.binomtest(int(events.sum()), len(events)).proportion_ci(_LEVEL, 'exact')
    return float(events.mean()), float(result.low), float(result.high), len(events)


def _text(figure: tuple[float, float, float, int]) -> str:
    value, low, high, draws = figure
    return f'{value:.1%} ({low:.1%} – {high:.1%}) of {draws}'


if __name__ == '__main__':
    main()
