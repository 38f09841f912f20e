"""One check of a version's traffic: what it compares, and when it alarms.

A window is compared with a fixed reference, the test images of the run or a window that a person
has accepted, and with the last good window. Both tests together alarm without a cause in at most a
share `alpha` of all checks: each of them gets half of it.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from components.evaluator.figure import Figure
from monitoring import late_labels, prevalence, reference, traffic, two_sample
from monitoring.late_labels import LateLabels
from monitoring.prevalence import Estimate, Scored
from monitoring.reference import Reference
from monitoring.sample import FLAG, PROBABILITY, Sample
from monitoring.traffic import Window
from monitoring.two_sample import Comparison, Difference
from serving.image_files import ImageFiles

TEST_IMAGES, ACCEPTED, LAST_GOOD = 'test images', 'accepted window', 'last good window'
_HISTORY = 'history.jsonl'


@dataclass(frozen=True)
class Compared:
    """A window against one reference.

    Attributes:
      name: TEST_IMAGES, ACCEPTED or LAST_GOOD.
      result: of the test.
      alarms: the differences that are too large for chance.
    """

    name: str
    result: Comparison
    alarms: tuple[Difference, ...]


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
      at: when, UTC.
      alpha: the stated rate of false alarms of all comparisons together.
      window: the traffic.
      run: the run that made the version.
      compared: with each reference.
      tested: sensitivity and specificity of the version on its test images.
      estimate: without labels; None if no image of the window was assessed.
      labels: with readings; None if there are none.
      read_shares: flag -> (studies that were read, studies).
      volume: day -> studies.
    """

    at: datetime.datetime
    alpha: float
    window: Window
    run: str
    compared: tuple[Compared, ...]
    tested: dict[str, Figure]
    estimate: Estimate | None
    labels: LateLabels | None
    read_shares: dict[bool, tuple[int, int]]
    volume: dict[str, int]

    @property
    def is_alarm(self) -> bool:
        """Whether any comparison alarms."""
        return any(compared.alarms for compared in self.compared)


def check(
    session: Session,
    root: Path,
    files: ImageFiles,
    folder: Path,
    version: int | None = None,
    size: int = 500,
    alpha: float = 0.01,
    permutations: int = 1999,
    accept: str = '',
) -> Check:
    """Checks the latest studies of a version, and keeps the window if it is good.

    Args:
      session: of the gateway's database.
      root: the run root of the version.
      files: the uploaded images.
      folder: where references, windows and the history are kept; made if it is missing.
      version: None for the one that answered last.
      size: studies of the window.
      alpha: rate of false alarms, see the module.
      permutations: of each test.
      accept: who accepts this window as the fixed reference from now on; '' for nobody.

    Raises:
      traffic.TrafficError, reference.ReferenceDataError, two_sample.SampleError: there is too
        little to compare.
    """
    if permutations + 1 < 2 / alpha:
        raise two_sample.SampleError(
            f'{permutations} permutations cannot give a p-value of {alpha / 2:g}: expected at '
            f'least {int(2 / alpha)}'
        )
    number = version if version is not None else traffic.latest_version(session)
    expected = reference.read(root, number, folder)
    window = traffic.read_window(session, number, size, files)
    accepted, good = (folder / f'{name}-{number}.npz' for name in ('accepted', 'good'))
    if accept:
        _keep(accepted, window)
    comparisons = _compare(expected, window, accepted, good, permutations, bool(accept))
    share = alpha / max(len(comparisons), 1)
    result = Check(
        datetime.datetime.now(datetime.timezone.utc),
        alpha,
        window,
        expected.run,
        tuple(
            Compared(name, item, tuple(two_sample.alarms(item, share)))
            for name, item in comparisons.items()
        ),
        expected.tested(),
        _estimate(expected, window),
        late_labels.measure(traffic.read_studies(session, number)),
        traffic.read_shares(session, number),
        traffic.volume(session),
    )
    if not result.is_alarm and (accept or _follows(window, good)):
        _keep(good, window)
    _record(folder / _HISTORY, result, accept)
    return result


def history(folder: Path) -> list[dict]:
    """The earlier checks, the oldest first."""
    path = folder / _HISTORY
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _compare(
    expected: Reference,
    window: Window,
    accepted: Path,
    good: Path,
    permutations: int,
    is_accepted: bool,
) -> dict[str, Comparison]:
    """Name of the reference -> result; nothing for a window that was accepted just now."""
    if is_accepted:
        return {}
    name, fixed, images, accepted_study = TEST_IMAGES, expected.sample, window.sample, None
    if accepted.exists():
        name = ACCEPTED
        fixed, accepted_study = _load(accepted)
        # Studies that were accepted are no evidence about those that came after them.
        images = _after(window, accepted_study)
    comparisons = {name: two_sample.compare(fixed, images, permutations)}
    if good.exists():
        earlier, last = _load(good)
        if last == accepted_study:
            return comparisons
        later = _after(window, last)
        if len(np.unique(later.groups)) >= two_sample.MIN_GROUPS:
            comparisons[LAST_GOOD] = two_sample.compare(earlier, later, permutations, seed=1)
    return comparisons


def _after(window: Window, last: int) -> Sample:
    """The images of the studies that arrived after the study with the number `last`."""
    return window.sample.take(window.sample.groups.astype(np.int64) > last)


def _follows(window: Window, good: Path) -> bool:
    """Whether the window shares no study with the last good one."""
    if not good.exists():
        return True
    return len(_after(window, _load(good)[1])) == len(window.sample)


def _keep(path: Path, window: Window) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    reference.save(path, window.sample, last_study=np.array(window.last_study))


def _load(path: Path) -> tuple[Sample, int]:
    stored = dict(np.load(path))
    return reference.load_sample(stored), int(stored['last_study'])


def _estimate(expected: Reference, window: Window) -> Estimate | None:
    columns = window.sample.columns
    rows = np.isfinite(columns[PROBABILITY])
    if not rows.any():
        return None
    scored = Scored(window.sample.groups[rows], columns[PROBABILITY][rows], columns[FLAG][rows])
    return prevalence.estimate(expected.scored(), scored)


def _record(path: Path, result: Check, accept: str) -> None:
    line = {
        'at': result.at.isoformat(timespec='seconds'),
        'version': result.window.version,
        'last_study': result.window.last_study,
        'alarm': result.is_alarm,
        'differences': [item.name for compared in result.compared for item in compared.alarms],
        'accepted_by': accept,
    }
    with path.open('a', encoding='utf-8') as stream:
        stream.write(json.dumps(line) + '\n')
