"""Measures how often `models auto` withdraws canaries that are good or bad, and how soon.

    python -m experiments.canary nih_triage --data-root DIR --weights PATH

The stable version and the canary are logistic regressions on the features of the frozen backbone,
so that hundreds of them can be trained. Each canary has its own draw of the patients into four
parts: training (each version has its own half, or the canary has both), calibration and operating
point, test, and traffic. The traffic is drawn with replacement from the images of the last part.
So the pairs of answers are those of two models about real images. What a canary does wrong (a shift
of the logits, noise, images that it does not assess) it does to the traffic alone, after its
evaluation. Readers, if any, read a third of the studies, and say what the label says.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.evaluator import metadata_model
from components.evaluator import paired as evaluated
from components.evaluator.predictions import LABEL, SERVED
from experiments import cohort as cohort_lib
from experiments import cross_validation, quality
from monitoring import canary
from monitoring.canary import Figure
from pipeline import config
from schemas import image_status
from schemas.features import PATIENT_ID
from schemas.signatures import FLAG, PROBABILITY, STATUS
from trainer import calibration
from trainer.tasks import TASKS

# The patients in 16 parts.
_PARTS = {'first': range(5), 'second': range(5, 9), 'calibration': range(9, 11)}
_PARTS |= {'test': range(11, 13), 'traffic': range(13, 16)}
_INVERSE_PENALTY = 0.001
_READ = 1 / 3
WITHDRAWN, PROMOTED, WAITS = 'withdrawn', 'promoted', 'waits'


@dataclasses.dataclass(frozen=True)
class Case:
    """What is special about the canaries of a case.

    Attributes:
      name: for people.
      is_bad: whether they should be withdrawn.
      change: of the logits of the traffic, from (logits, generator).
      prevalence: of abnormal images in the first and in the second half of the traffic; None for
        that of the data.
      lost: share of the traffic that the canary does not assess.
      has_more_images: whether the canary was trained on twice as many images as the stable version.
      is_read: whether there are readers.
      is_paired: whether both versions were evaluated on the same test images.
    """

    name: str
    is_bad: bool
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray] = lambda logits, rng: logits
    prevalence: tuple[float, float] | None = None
    lost: float = 0.0
    has_more_images: bool = False
    is_read: bool = False
    is_paired: bool = True


def _shifted(by: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda logits, rng: logits + by


def _noisy(spread: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda logits, rng: logits + rng.normal(0, spread, len(logits))


CASES = (
    Case('equal', False),
    Case('equal, other test images', False, is_paired=False),
    Case('equal, with readers', False, is_read=True),
    Case('trained on twice the images', False, has_more_images=True),
    Case('equal, 10 % abnormal', False, prevalence=(0.1, 0.1)),
    Case('equal, 90 % abnormal', False, prevalence=(0.9, 0.9)),
    Case('equal, from 10 % to 90 % abnormal', False, prevalence=(0.1, 0.9)),
    Case('equal, 10 % abnormal, other test images', False, prevalence=(0.1, 0.1), is_paired=False),
    Case('equal, 90 % abnormal, other test images', False, prevalence=(0.9, 0.9), is_paired=False),
    Case('logit -1', True, _shifted(-1.0)),
    Case('logit -0.5', True, _shifted(-0.5)),
    Case('logit +0.5', True, _shifted(0.5)),
    Case('logit +1', True, _shifted(1.0)),
    Case('logit -1, other test images', True, _shifted(-1.0), is_paired=False),
    Case('logit +1, other test images', True, _shifted(1.0), is_paired=False),
    Case('logit +1, from 10 % to 90 % abnormal', True, _shifted(1.0), (0.1, 0.9)),
    Case('noise of 1 logit', True, _noisy(1.0)),
    Case('noise of 2 logits', True, _noisy(2.0)),
    Case('noise of 2 logits, with readers', True, _noisy(2.0), is_read=True),
    Case('5 % of the images not assessed', True, lost=0.05),
    Case('10 % of the images not assessed', True, lost=0.1),
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two trained versions about images that neither was trained on.

    Attributes:
      limits: is_paired -> of `canary.limits`.
      logits: calibrated, of the stable version and of the canary, float [2, n], of the traffic.
      thresholds: as logits, of both.
      label: 0/1 int [n].
    """

    limits: dict[bool, dict[str, tuple[float | None, float | None]]]
    logits: np.ndarray
    thresholds: tuple[float, float]
    label: np.ndarray


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to canary-TASK.json under --scratch."""
    parser = quality.options(__doc__)
    parser.add_argument('--canaries', type=int, default=200, help='of each case (default: 200)')
    parser.add_argument('--answers', type=int, default=500, help='before a promotion')
    parser.add_argument('--alpha', type=float, default=0.05)
    parser.add_argument('--margin', type=float, default=0.05)
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    configured = quality.plan(args.task, args.weights, args.set)
    target = config.load(str(quality.config_path(args.task)), args.set).operating_point.sensitivity
    cohort = cohort_lib.load(args.data_root, configured.parameters.model.image_size)
    features = cross_validation.frozen_features(cohort, configured.parameters.model, args.scratch)
    label = cohort.labels[TASKS[args.task].label]
    results: dict[str, list[tuple[str, int]]] = {case.name: [] for case in CASES}
    for seed in track(range(args.canaries), description='canaries', transient=True):
        pairs = {
            more: train(features, label, cohort.patients, seed, target, args.margin, more)
            for more in (False, True)
        }
        for case in CASES:
            values = traffic(pairs[case.has_more_images], case, 2 * args.answers, seed)
            bounds = pairs[case.has_more_images].limits[case.is_paired]
            results[case.name].append(decide(values, bounds, args.alpha, args.answers))
    rows = {name: summary(decisions) for name, decisions in results.items()}
    args.scratch.mkdir(parents=True, exist_ok=True)
    (args.scratch / f'canary-{args.task}.json').write_text(json.dumps(rows, indent=1))
    console.print(table(rows))


def train(
    features: np.ndarray,
    label: np.ndarray,
    patients: np.ndarray,
    seed: int,
    target: float,
    margin: float,
    has_more_images: bool,
) -> Pair:
    """Trains, calibrates and evaluates two versions.

    Args:
      features: float [n, channels].
      label: 0/1 int [n].
      patients: [n].
      seed: of the draw of the patients.
      target: sensitivity of the operating points on the calibration split.
      margin: see `canary.limits`.
      has_more_images: see `Case`.
    """
    part = metadata_model.folds(patients, 16, seed)
    rows = {name: np.flatnonzero(np.isin(part, list(parts))) for name, parts in _PARTS.items()}
    # The same number of patients for both, but for one part of them.
    second = np.union1d(rows['first'], rows['second']) if has_more_images else rows['second']
    logits, thresholds = [], []
    for training in (rows['first'], second):
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=_INVERSE_PENALTY, class_weight='balanced', max_iter=2000),
        ).fit(features[training], label[training])
        raw = model.decision_function(features)
        held_out = rows['calibration']
        fitted = calibration.fit(raw[held_out], label[held_out])
        probability = fitted.apply(raw[held_out])
        point = calibration.choose_operating_point(probability, label[held_out], target)
        logits.append(special.logit(fitted.apply(raw)))
        thresholds.append(float(special.logit(point.threshold)))
    both = np.array(logits)
    test = rows['test']
    was, new = (_figures(both[k, test] >= thresholds[k], label[test]) for k in (0, 1))
    compared = evaluated.compare(_table(both[:, test], thresholds, label[test], patients[test]))
    limits = {
        True: canary.limits(was, new, margin, compared),
        False: canary.limits(was, new, margin),
    }
    used = rows['traffic']
    return Pair(limits, both[:, used], (thresholds[0], thresholds[1]), label[used])


def _figures(flag: np.ndarray, label: np.ndarray) -> dict[str, Figure]:
    """Sensitivity and specificity, with errors that count each image."""
    result = {}
    for name, right in (('sensitivity', flag[label == 1]), ('specificity', ~flag[label == 0])):
        # Not zero where all are right.
        share = (right.sum() + 0.5) / (len(right) + 1)
        result[name] = Figure(float(right.mean()), float(np.sqrt(share * (1 - share) / len(right))))
    return result


def _table(
    logits: np.ndarray, thresholds: Sequence[float], label: np.ndarray, patients: np.ndarray
) -> pd.DataFrame:
    """What the Evaluator keeps of both."""
    columns = {LABEL: label, PATIENT_ID: patients}
    for k, prefix in enumerate((SERVED, '')):
        columns |= {
            prefix + PROBABILITY: special.expit(logits[k]),
            prefix + FLAG: (logits[k] >= thresholds[k]).astype(int),
            prefix + STATUS: np.full(len(label), image_status.OK),
        }
    return pd.DataFrame(columns)


def traffic(pair: Pair, case: Case, count: int, seed: int) -> dict[str, np.ndarray]:
    """The answers about `count` studies of one image, as `canary.judge` takes them."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(pair.label), size=count)
    if case.prevalence is not None:
        prevalence = np.repeat(case.prevalence, [count // 2, count - count // 2])
        abnormal, normal = np.flatnonzero(pair.label == 1), np.flatnonzero(pair.label == 0)
        rows = np.where(
            rng.random(count) < prevalence, rng.choice(abnormal, count), rng.choice(normal, count)
        )
    label, stable = pair.label[rows], pair.logits[0, rows]
    other = case.change(pair.logits[1, rows], rng)
    lost = rng.random(count) < case.lost
    flags = np.array([stable >= pair.thresholds[0], (other >= pair.thresholds[1]) | lost], float)
    change = (special.expit(other) - special.expit(stable))[~lost]
    values = {
        canary.FLAGS: flags[1] - flags[0],
        canary.PROBABILITY: change,
        canary.DIFFERENCE: np.abs(change),
        canary.LOST: lost.astype(float),
    }
    if case.is_read:
        is_read = rng.random(count) < _READ
        missed, called = (is_read & (label == value) & (flags[0] == value) for value in (1, 0))
        values |= {canary.MISSED: 1 - flags[1, missed], canary.OVERCALLED: flags[1, called]}
    return values


def decide(
    values: dict[str, np.ndarray],
    bounds: dict[str, tuple[float | None, float | None]],
    alpha: float,
    answers: int,
) -> tuple[str, int]:
    """What becomes of a canary whose answers are looked at after each 10 studies.

    Returns:
      WITHDRAWN, PROMOTED or WAITS, and after how many studies.
    """
    count = len(values[canary.FLAGS])
    looks = range(10, count + 1, 10)

    def look(seen: int) -> list[canary.Result]:
        part = {
            name: series[: round(len(series) * seen / count)] for name, series in values.items()
        }
        return canary.judge(part, bounds, alpha)

    # An alarm stays, so the first one can be searched for.
    first = bisect.bisect_left(looks, True, key=lambda seen: any(r.alarm for r in look(seen)))
    for seen in looks[:first]:
        if seen >= answers and all(r.is_within for r in look(seen) if r.name in canary.OF_ANSWERS):
            return PROMOTED, seen
    return (WITHDRAWN, looks[first]) if first < len(looks) else (WAITS, count)


def summary(decisions: Sequence[tuple[str, int]]) -> dict[str, float | None]:
    """The share of each outcome of `decide`, with the exact interval, and the median of studies."""
    result: dict[str, float | None] = {'canaries': len(decisions)}
    for outcome in (WITHDRAWN, PROMOTED, WAITS):
        ends = [end for name, end in decisions if name == outcome]
        interval = stats.binomtest(len(ends), len(decisions)).proportion_ci(0.95, 'exact')
        result |= {
            outcome: len(ends) / len(decisions),
            f'{outcome}_lower': float(interval.low),
            f'{outcome}_upper': float(interval.high),
            f'{outcome}_after': float(np.median(ends)) if ends else None,
        }
    return result


def table(rows: dict[str, dict[str, float | None]]) -> Table:
    """A row for each case."""
    result = Table('canary', box=None, pad_edge=False)
    for name in ('withdrawn', '95 % interval', 'after', 'promoted', 'after', 'waits'):
        result.add_column(name, justify='right')
    for name, row in rows.items():
        after = (row[f'{outcome}_after'] for outcome in (WITHDRAWN, PROMOTED))
        withdrawn, promoted = ('' if median is None else f'{median:.0f}' for median in after)
        result.add_row(
            name,
            f'{row[WITHDRAWN]:.1%}',
            f'{row[f"{WITHDRAWN}_lower"]:.1%} – {row[f"{WITHDRAWN}_upper"]:.1%}',
            withdrawn,
            f'{row[PROMOTED]:.1%}',
            promoted,
            f'{row[WAITS]:.1%}',
        )
    return result


if __name__ == '__main__':
    main()
