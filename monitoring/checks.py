"""One check of a version's traffic: what it compares, and when it alarms.

The latest studies of each site are compared with a fixed reference, the test images of the run or a
window of the site that a person has accepted, and with the site's last good window. All these tests
together alarm without a cause in at most a share `alpha` of all checks: each of them gets an equal
part of it (Bonferroni).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from components.evaluator.figure import Figure
from monitoring import kept_windows, late_labels, prevalence, reference, traffic, two_sample
from monitoring.kept_windows import ACCEPTED as ACCEPTED_FILE
from monitoring.kept_windows import GOOD
from monitoring.label_table import Labelled
from monitoring.late_labels import LateLabels
from monitoring.prevalence import Estimate, Scored
from monitoring.reference import Reference
from monitoring.sample import FLAG, PROBABILITY, Sample
from monitoring.traffic import Window
from monitoring.two_sample import MIN_GROUPS, Comparison, Difference
from serving.image_files import ImageFiles

TEST_IMAGES, ACCEPTED, LAST_GOOD = 'test images', 'accepted window', 'last good window'
_HISTORY = 'history.jsonl'
# Permutations of a first look. Where these say that chance often gives such differences, more of
# them cannot make an alarm.
_FIRST_LOOK, _UNLIKELY = 499, 0.1
# The smallest p-value is at most this share of the one that alarms, if that does not take too long.
_SMALLEST, _MANY = 0.1, 4000


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
class SiteCheck:
    """The result for a site.

    Attributes:
      window: its traffic.
      compared: with each reference; empty for a window that was accepted just now, or if too few
        studies came after it.
      estimate: without labels; None if no image of the window was assessed.
    """

    window: Window
    compared: tuple[Compared, ...]
    estimate: Estimate | None

    @property
    def is_alarm(self) -> bool:
        """Whether any comparison alarms."""
        return any(compared.alarms for compared in self.compared)


@dataclass(frozen=True)
class TableCheck:
    """A version against a table of labels.

    Attributes:
      name: of the table's file.
      rows: of the table.
      matched: rows whose study the version answered.
      labels: the result; None if no such study was assessed.
    """

    name: str
    rows: int
    matched: int
    labels: LateLabels | None


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
      at: when, UTC.
      version: of the model.
      run: the run that made the version.
      alpha: the stated rate of false alarms of all comparisons together.
      sites: of each site with enough studies, the one with most studies first.
      too_few: site -> studies, of the others.
      tested: sensitivity and specificity of the version on its test images.
      labels: with readings; None if there are none.
      read_shares: flag -> (studies that were read, studies).
      table: with a table of labels; None without one.
      volume: day -> studies.
      accepted_by: who accepted these windows as the references; '' if nobody did.
    """

    at: datetime.datetime
    version: int
    run: str
    alpha: float
    sites: tuple[SiteCheck, ...]
    too_few: dict[str, int]
    tested: dict[str, Figure]
    labels: LateLabels | None
    read_shares: dict[bool, tuple[int, int]]
    table: TableCheck | None
    volume: dict[str, int]
    accepted_by: str

    @property
    def is_alarm(self) -> bool:
        """Whether any site alarms."""
        return any(site.is_alarm for site in self.sites)


@dataclass(frozen=True)
class _Pair:
    """What is compared: `seed` makes the permutations of a check differ."""

    name: str
    reference: Sample
    images: Sample
    seed: int


def check(
    session: Session,
    root: Path,
    files: ImageFiles,
    folder: Path,
    version: int | None = None,
    size: int = 500,
    alpha: float = 0.01,
    accept: str = '',
    site: str | None = None,
    find_labelled: Callable[[int], Labelled] | None = None,
) -> Check:
    """Checks the latest studies of a version at each site, and keeps the windows that are good.

    Args:
      session: of the gateway's database.
      root: the run root of the version.
      files: the uploaded images, for what the gateway has not described.
      folder: where references, windows and the history are kept; made if it is missing.
      version: None for the one that answered last.
      size: studies of the window of a site.
      alpha: rate of false alarms, see the module.
      accept: who accepts these windows as the fixed references from now on; '' for nobody.
      site: the only one to check; None for all with MIN_GROUPS studies or more.
      find_labelled: the studies of a version that a table has labels of; None without a table.

    Raises:
      traffic.TrafficError, reference.ReferenceDataError, two_sample.SampleError: there is too
        little to compare.
    """
    number = version if version is not None else traffic.latest_version(session)
    expected = reference.read(root, number, folder)
    counts = traffic.sites(session, number)
    if site is not None:
        counts = {site: counts.get(site, 0)}
    checked = [name for name, count in counts.items() if count >= MIN_GROUPS]
    if not checked:
        raise two_sample.SampleError(_too_few(number, site, counts))
    windows = [traffic.read_window(session, number, size, files, name) for name in checked]
    if accept:
        for window in windows:
            kept_windows.write(folder, ACCEPTED_FILE, window)
    pairs = [[] if accept else list(_pairs(folder, expected, window)) for window in windows]
    if not accept and not any(pairs):
        raise two_sample.SampleError(
            f'no site has {MIN_GROUPS} studies since its window was accepted: wait for more'
        )
    share = alpha / max(sum(map(len, pairs)), 1)
    result = Check(
        datetime.datetime.now(datetime.timezone.utc),
        number,
        expected.run,
        alpha,
        tuple(
            SiteCheck(
                window,
                tuple(_compare(pair, share) for pair in of_site),
                _estimate(expected, window),
            )
            for window, of_site in zip(windows, pairs, strict=True)
        ),
        {name: count for name, count in counts.items() if name not in checked},
        expected.tested(),
        late_labels.measure(traffic.read_studies(session, number, site)),
        traffic.read_shares(session, number, site),
        _of_table(find_labelled(number)) if find_labelled else None,
        traffic.volume(session, site),
        accept,
    )
    for item in result.sites:
        is_good = bool(item.compared) and not item.is_alarm
        if accept or (is_good and _follows(folder, item.window)):
            kept_windows.write(folder, GOOD, item.window)
    _record(folder / _HISTORY, result)
    return result


def _of_table(found: Labelled) -> TableCheck:
    return TableCheck(found.name, found.rows, found.matched, late_labels.measure(found.studies))


def history(folder: Path) -> list[dict]:
    """The earlier checks, the oldest first."""
    path = folder / _HISTORY
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def permutations(share: float) -> int:
    """How many permutations a test needs that may alarm without a cause in a share of all cases.

    Their smallest p-value is at most half of that share.
    """
    return int(max(2 / share, min(1 / (_SMALLEST * share), _MANY))) - 1


def _too_few(version: int, site: str | None, counts: dict[str, int]) -> str:
    where = '' if site is None else f' of the site {site!r}'
    most = max(counts.values(), default=0)
    a_site = ' of any site' if len(counts) > 1 else where
    return (
        f'version {version} answered about {most} studies{a_site}: expected at least {MIN_GROUPS}'
    )


def _pairs(folder: Path, expected: Reference, window: Window) -> Iterator[_Pair]:
    """What a window is compared with."""
    accepted, good = (
        kept_windows.read(folder, kind, window.version, window.site)
        for kind in (ACCEPTED_FILE, GOOD)
    )
    if accepted:
        # Studies that were accepted are no evidence about those that came after them.
        later = _after(window, accepted.last_study)
        if _has_enough(later):
            yield _Pair(ACCEPTED, accepted.sample, later, 0)
    else:
        yield _Pair(TEST_IMAGES, expected.sample, window.sample, 0)
    if good and not (accepted and good.last_study == accepted.last_study):
        later = _after(window, good.last_study)
        if _has_enough(later):
            yield _Pair(LAST_GOOD, good.sample, later, 1)


def _compare(pair: _Pair, share: float) -> Compared:
    count = permutations(share)
    first = min(count, _FIRST_LOOK)
    result = two_sample.compare(pair.reference, pair.images, first, pair.seed)
    if first < count:
        # The rate holds: a comparison that ends here could only have alarmed otherwise.
        if result.p_value > _UNLIKELY:
            return Compared(pair.name, result, ())
        result = two_sample.compare(pair.reference, pair.images, count, pair.seed)
    return Compared(pair.name, result, tuple(two_sample.alarms(result, share)))


def _has_enough(images: Sample) -> bool:
    return len(np.unique(images.groups)) >= MIN_GROUPS


def _after(window: Window, last: int) -> Sample:
    """The images of the studies that arrived after the study with the number `last`."""
    return window.sample.take(window.sample.groups.astype(np.int64) > last)


def _follows(folder: Path, window: Window) -> bool:
    """Whether the window shares no study with the last good one of its site."""
    good = kept_windows.read(folder, GOOD, window.version, window.site)
    return good is None or window.first_study > good.last_study


def _estimate(expected: Reference, window: Window) -> Estimate | None:
    columns = window.sample.columns
    rows = np.isfinite(columns[PROBABILITY])
    if not rows.any():
        return None
    scored = Scored(window.sample.groups[rows], columns[PROBABILITY][rows], columns[FLAG][rows])
    return prevalence.estimate(expected.scored(), scored)


def _record(path: Path, result: Check) -> None:
    line = {
        'at': result.at.isoformat(timespec='seconds'),
        'version': result.version,
        'sites': [site.window.site for site in result.sites],
        'alarm': result.is_alarm,
        'differences': {
            site.window.site: sorted(
                {item.name for compared in site.compared for item in compared.alarms}
            )
            for site in result.sites
            if site.is_alarm
        },
        'accepted_by': result.accepted_by,
    }
    with path.open('a', encoding='utf-8') as stream:
        stream.write(json.dumps(line) + '\n')
