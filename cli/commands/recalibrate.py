"""`cxr-triage recalibrate`: offset, temperature and operating point of a version on new images."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import NOT_BLESSED, PUSHED, refuse

if TYPE_CHECKING:
    from components.pusher.target import ServedVersion
    from monitoring.recalibration.manifest import Judged

WHEN_INTERRUPTED = 'nothing was pushed'
_RELEASES = ('none', 'canary', 'stable')
_EXIT_CODES = """exit codes:
  0    recalibrated and pushed, or pushed before (with --dry-run: it would be)
  1    failed; the message says what to do
  3    refused by the gate: nothing was pushed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `recalibrate`."""
    roots.add_argument(parser)
    parser.add_argument(
        '--target',
        type=Path,
        metavar='DIR',
        help='the push directory, where it is not that of the root',
    )
    parser.add_argument(
        '--version',
        type=int,
        metavar='N',
        dest='model_version',
        help='the version to recalibrate (default: the stable one)',
    )
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        help='folder with labelled images in the record layout (default: that of the version)',
    )
    parser.add_argument(
        '--spans',
        default='all',
        metavar='SPANS',
        help='all, latest, or numbers such as 1,2 (default: all). Images of patients that the '
        'version learned from are left out',
    )
    parser.add_argument(
        '--release',
        choices=_RELEASES,
        help='the label of the new version (default: push.release of the configuration)',
    )
    parser.add_argument('--dry-run', action='store_true', help='judge, but push nothing')
    parser.add_argument('--why', default='', help='for the record of releases')
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXIT_CODES


def run(args: argparse.Namespace) -> int:
    """Recalibrates once; returns an exit code of `pipeline.exit_codes`."""
    from pipeline import quiet

    quiet.before_tfx(verbose=False)
    from components.pusher.journal import JournalError
    from components.pusher.push import PushError
    from components.pusher.target import TargetError
    from components.serving_check.launcher import ProbeError
    from monitoring.recalibration import RecalibrationError
    from pipeline import root_lock
    from pipeline.metadata_file import StoreError
    from records.data_root import DataRootError
    from records.metadata import MetadataError
    from records.terminal import error_text
    from serving.releases import ReleaseError

    try:
        with contextlib.ExitStack() as stack:
            root = roots.find(args.root) if args.root or not args.target else None
            if root is not None:
                stack.enter_context(root_lock.acquire(str(root)))
            return _recalibrate(args, root)
    except (
        RecalibrationError,
        PushError,
        TargetError,
        ProbeError,
        StoreError,
        DataRootError,
        MetadataError,
        ReleaseError,
        JournalError,
        root_lock.RootInUseError,
        roots.RootError,
        service.ServiceError,
    ) as error:
        return refuse('recalibrate', error)
    except OSError as error:
        return refuse('recalibrate', error_text(error))


def _recalibrate(args: argparse.Namespace, root: Path | None) -> int:
    from monitoring.recalibration import known_images, recalibrate
    from serving import person

    target = service.target(args)
    version = _version(target, args.model_version)
    config = recalibrate.config_of(version)
    data_root = os.path.abspath(args.data_root) if args.data_root else None
    data = recalibrate.source(config, data_root, _spans(args.spans))
    known = known_images.of_version(root, version) if root else None
    if known is None:
        print(
            f'Note: the training images of version {version.version} are not '
            f'{f"under {root} any more" if root else "known without --root"}, so nobody can tell '
            'whether it learned from these images.'
        )
    verdicts: list[Judged] = []

    def is_allowed(judged: Judged) -> bool:
        verdicts.append(judged)
        _print(judged, version.version, data)
        return not judged.failures and not args.dry_run

    pushed = recalibrate.recalibrate(
        version, config, data, known or known_images.nothing, person.name(), is_allowed
    )
    if verdicts[0].failures:
        print('Refused, nothing was pushed:')
        for failure in verdicts[0].failures:
            print(f'  {failure}')
        return NOT_BLESSED
    if pushed is None:
        print('Nothing was pushed (--dry-run).')
        return PUSHED
    if pushed.already_served:
        print(f'Version {pushed.version} has this calibration already.')
    else:
        print(f'Pushed version {pushed.version}, a recalibration of {version.version}.')
    return _release(args, target, config, int(pushed.version), version.version)


def _version(target: Path, number: int | None) -> ServedVersion:
    from components.pusher import target as push_target
    from components.serving_check.parameters import MODEL_NAME
    from monitoring.recalibration import RecalibrationError
    from serving.releases import STABLE
    from serving.releases.release import Releases

    versions = {int(version.version): version for version in push_target.versions(str(target))}
    if not versions:
        raise RecalibrationError(f'{target}: no version was pushed there; run the pipeline first')
    newest = versions[max(versions)]
    name = MODEL_NAME
    if newest.manifest is not None:
        name = newest.manifest.config.get('serving_check', {}).get('model_name', MODEL_NAME)
    if number is None:
        number = Releases(target, name).labels().get(STABLE, max(versions))
    if number not in versions:
        raise RecalibrationError(
            f'{target}: no version {number}; there are: {", ".join(map(str, versions))}'
        )
    return versions[number]


def _spans(text: str) -> Any:
    if text in ('all', 'latest'):
        return text
    try:
        return [int(number) for number in text.split(',')]
    except ValueError:
        raise service.ServiceError(
            f'--spans {text}: expected all, latest, or numbers such as 1,2'
        ) from None


def _print(judged: Judged, version: str, data: Any) -> None:
    from rich.console import Console

    from monitoring.recalibration.gate import TITLES
    from pipeline.tables import plain_table

    scored, fit = judged.scored, judged.fit
    positives, count = fit.point.positives, len(scored.labels)
    patients = len(set(scored.patient.tolist()))
    spans = ', '.join(map(str, data.spans))
    print(
        f'Version {version} on {data.root}, span {spans}: {count:,} images of {patients:,} '
        f'patients, {positives:,} positive ({positives / count:.1%}).'
    )
    if scored.left_out:
        parts = ', '.join(f'{number:,} {reason}' for reason, number in scored.left_out.items())
        print(f'Left out: {parts}.')
    calibrations, threshold = judged.before
    new = fit.calibrations[0]
    for name, before, after in (
        ('offset', calibrations[0].offset, new.offset),
        ('temperature', calibrations[0].temperature, new.temperature),
        ('operating point', threshold, fit.point.threshold),
    ):
        print(f'{name:<16}{before:.3f} -> {after:.3f}')
    table = plain_table('on held-out images', '>served', '>recalibrated', '>change', 'required', '')
    for condition in judged.conditions:
        figures = (condition.served.text(), condition.recalibrated.text())
        change = condition.change.signed_text()
        verdict = 'pass' if condition.passed else 'FAIL'
        table.add_row(TITLES[condition.name], *figures, change, condition.required, verdict)
    Console(width=160).print(table)


def _release(args: argparse.Namespace, target: Path, config: Any, number: int, of: str) -> int:
    """Gives the new version a label, and returns the exit code."""
    from components.pusher import target as push_target
    from serving import running
    from serving.api.client import ModelServer
    from serving.releases.release import Releases

    label = args.release or config.push.release
    if label == 'none' or not (target / push_target.MODEL_CONFIG).exists():
        return PUSHED  # without a release so far, `serve` starts with the newest version
    address = running.model_server(target.parent / running.FOLDER)
    server = ModelServer(address) if address else None
    releases = Releases(target, config.serving_check.model_name, server)
    release = releases.promote if label == 'stable' else releases.canary
    release(number, args.why or f'recalibration of version {of}')
    print(f'Version {number} is {label} in {releases.config_path}.')
    return PUSHED
