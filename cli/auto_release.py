"""`cxr-triage models auto`: promotes the canary or withdraws it, by what it answered so far."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from cli import service_options as service
from pipeline.exit_codes import refuse

if TYPE_CHECKING:
    from monitoring.canary import Result
    from serving.served_versions import VersionInfo

UNCHANGED, ALARM, ERROR, PROMOTED = 0, 1, 2, 3
_ANSWERS, _ALPHA, _MARGIN = 500, 0.05, 0.05
# The ends of an interval are this many standard errors from its middle.
_ENDS = 1.96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `models auto`."""
    service.add_database_argument(parser)
    parser.add_argument(
        '--answers',
        type=int,
        default=_ANSWERS,
        metavar='N',
        help=f'studies that both versions have to answer before a promotion (default: {_ANSWERS})',
    )
    parser.add_argument(
        '--alpha',
        type=float,
        default=_ALPHA,
        metavar='RATE',
        help='share of good canaries that may be withdrawn, however often this runs, between '
        f'0.001 and 0.5 (default: {_ALPHA})',
    )
    parser.add_argument(
        '--margin',
        type=float,
        default=_MARGIN,
        metavar='SHARE',
        help='change of a share or of the mean probability that does no harm, beyond what the '
        f'test results predict, between 0.01 and 0.5 (default: {_MARGIN})',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='say what it would do, and do nothing'
    )


def run(args: argparse.Namespace, releases: Any) -> int:
    """Looks once, and acts.

    Returns:
      UNCHANGED: it waits, a person has stopped automatic decisions, or there is no canary; ALARM:
      the canary is worse, and was withdrawn unless a person has stopped that; PROMOTED; or ERROR.
    """
    from components.pusher.journal import JournalError
    from components.pusher.target import TargetError
    from serving.database.connection import DatabaseError
    from serving.releases import ReleaseError

    try:
        _check(args)
        return _look(args, releases)
    except (
        ReleaseError,
        TargetError,
        JournalError,
        DatabaseError,
        service.ServiceError,
        service.roots.RootError,
        OSError,
    ) as error:
        refuse('models auto', error)
        return ERROR


def print_how_to_apply(releases: Any) -> None:
    """Says what is left to do after the model config file has changed."""
    if releases.config is not None and (releases.config.parent / 'kustomization.yaml').exists():
        print(f'To apply it: kubectl apply -k {releases.config.parent}')
    elif releases.server is None:
        print('No model server was asked: it takes effect when one reads the file.')


def _check(args: argparse.Namespace) -> None:
    if args.answers < 1:
        raise service.ServiceError(f'--answers {args.answers}: expected at least 1')
    for name, low, value in (('alpha', 0.001, args.alpha), ('margin', 0.01, args.margin)):
        if not low <= value <= 0.5:
            raise service.ServiceError(f'--{name} {value}: expected {low} to 0.5')


def _look(args: argparse.Namespace, releases: Any) -> int:
    from components.pusher import journal
    from monitoring import canary, paired
    from serving import served_versions
    from serving.releases import CANARY, STABLE

    labels = releases.labels()
    if STABLE not in labels or CANARY not in labels:
        print(f'Nothing to decide: no version is {STABLE if CANARY in labels else CANARY}.')
        return UNCHANGED
    stable, candidate = labels[STABLE], labels[CANARY]
    entries = journal.read(releases.target)
    with service.open_database(args, readonly=True) as session:
        answers = paired.read(session, stable, candidate, journal.canary_since(entries, candidate))
    was, new = (
        served_versions.read(str(releases.target / str(number)), number)
        for number in (stable, candidate)
    )
    limits = canary.limits(
        _figures(was),
        _figures(new),
        args.margin,
        new.paired if new.compared_with == stable else None,
    )
    results = canary.judge(answers.values, limits, args.alpha)
    _print(results, stable, candidate, answers)
    alarms = [result for result in results if result.alarm]
    missing = max(args.answers - answers.studies, 0)
    hold = journal.held(entries)
    if not alarms and missing:
        print(f'Waiting: {missing} more studies that both versions answer.{_why_none(answers)}')
        return UNCHANGED
    outside = [r.name for r in results if r.name in canary.OF_ANSWERS and not r.is_within]
    if not alarms and outside:
        print(
            'Waiting: more answers have to show whether it is chance that these are outside of '
            f'what they may be: {", ".join(canary.TITLES[name] for name in outside)}.'
        )
        return UNCHANGED
    action = 'withdraw' if alarms else 'promote'
    if hold or args.dry_run:
        stopped = f'{hold.who} has stopped automatic decisions: {hold.why}' if hold else '--dry-run'
        print(f'Nothing is changed ({stopped}). Without it: {action} {candidate}.')
        return ALARM if alarms else UNCHANGED
    why = _reason(results, answers.studies, args)
    if alarms:
        releases.withdraw(why, only_if=labels)
        print(f'Withdrawn: version {candidate} is no longer canary. Version {stable} stays stable.')
    else:
        releases.promote(candidate, why, only_if=labels)
        print(f'Promoted: version {candidate} is stable in {releases.config_path}.')
    print_how_to_apply(releases)
    return ALARM if alarms else PROMOTED


def _figures(info: VersionInfo) -> dict[str, Any]:
    """The test results of a version that are known."""
    from monitoring.canary import Figure

    known = {}
    for name in ('sensitivity', 'specificity'):
        estimate = getattr(info, name)
        if estimate.value is None:
            continue
        has_ends = estimate.lower is not None and estimate.upper is not None
        error = (estimate.upper - estimate.lower) / (2 * _ENDS) if has_ends else 0.0
        known[name] = Figure(estimate.value, error)
    return known


def _print(results: list[Result], stable: int, candidate: int, answers: Any) -> None:
    from rich.console import Console

    from monitoring.canary import TITLES
    from pipeline.tables import plain_table

    print(
        f'Canary {candidate} and stable {stable} both answered {answers.studies} studies; '
        f'{answers.read} of them are read.'
    )
    table = plain_table('mean of', '>studies', '>is', '>may be', '>evidence', '>alarm at')
    for result in results:
        table.add_row(
            TITLES[result.name],
            str(result.count),
            '' if math.isnan(result.mean) else f'{result.mean:+.3f}',
            _limit(result),
            '' if not result.count else f'{min(result.evidence, 1e6):.3g}',
            f'{result.needed:.3g}',
        )
    Console().print(table)
    for result in results:
        if result.alarm:
            print(f'Alarm after {result.at} studies: {result.alarm}.')


def _limit(result: Result) -> str:
    ends = [f'{end:+.3f}' for end in (result.low, result.high) if end is not None]
    if result.low is None and ends:
        return f'up to {ends[0]}'
    return ' to '.join(ends) or 'anything'


def _why_none(answers: Any) -> str:
    if answers.studies:
        return ''
    return ' None was so far: does `cxr-triage serve` run with --canary-share above 0?'


def _reason(results: list[Result], studies: int, args: argparse.Namespace) -> str:
    """The text of the record of releases: the decision, and the figures behind it as JSON."""
    alarms = [result.alarm for result in results if result.alarm]
    figures = {
        result.name: {
            'studies': result.count,
            'mean': None if math.isnan(result.mean) else round(result.mean, 4),
            'low': result.low,
            'high': result.high,
            'evidence': float(f'{result.evidence:.4g}'),
        }
        for result in results
    }
    text = '; '.join(alarms) or f'no alarm in {studies} studies'
    rates = {'alpha': args.alpha, 'margin': args.margin, 'alarm_at': results[0].needed}
    return f'automatic: {text} {json.dumps({**rates, **figures})}'
