"""A push directory with two versions of a model, for the benchmarks to serve."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import get_args

from benchmarks import scale
from components.pusher import push
from components.pusher import target as push_target
from components.serving_check.parameters import MODEL_NAME
from pipeline.run_root import RunRoot
from serving.releases.release import Releases
from trainer.parameters import Backbone

# The versions, of which the first is stable.
STABLE, CANDIDATE = 1, 2
_THRESHOLD = 0.5


def newest(root: Path) -> Path:
    """The newest pushed version of a run root.

    Raises:
      SystemExit: there is none.
    """
    versions = push_target.versions(str(RunRoot(root).serving))
    if not versions:
        raise SystemExit(f'{root}: no version was pushed there; run the pipeline first')
    return Path(versions[-1].path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ROOT and --backbone."""
    parser.add_argument('root', type=Path, nargs='?', help='a run root with a pushed version')
    parser.add_argument(
        '--backbone',
        choices=get_args(Backbone),
        help='serve a network of random weights instead; only its speed matters',
    )


def from_arguments(args: argparse.Namespace, copy: Path) -> Path:
    """The root that ROOT and --backbone mean, made as `copy`.

    Raises:
      SystemExit: neither is there.
    """
    if args.backbone:
        return with_random_weights(args.backbone, copy)
    if args.root is None:
        raise SystemExit('give ROOT or --backbone')
    return from_root(args.root, copy)


def path(root: Path, number: int = STABLE) -> Path:
    """The folder of a version."""
    return RunRoot(root).serving / str(number)


def from_root(root: Path, copy: Path) -> Path:
    """Makes a root `copy` whose push directory has the newest version of `root` twice."""
    shutil.rmtree(copy, ignore_errors=True)
    for number in (STABLE, CANDIDATE):
        _copy(newest(root), RunRoot(copy).serving, number)
    return _release(copy)


def with_random_weights(backbone: str, copy: Path) -> Path:
    """Makes a root `copy` whose push directory has a network of random weights twice."""
    from components.serving_check import sample_answers, warmup
    from components.serving_check.session_model import SessionModel

    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    model = copy / 'model'
    scale.run_command(
        [sys.executable, '-m', 'benchmarks.random_weights', backbone, str(model)],
        copy / 'export.log',
    )
    warmup.write(str(model), MODEL_NAME, (1, 2, 4, 8, 16))
    sample_answers.write(SessionModel(str(model)), str(model))
    info = {'task': 'nih_triage', 'operating_point': {'threshold': _THRESHOLD}}
    (model / 'assets.extra' / 'triage.json').write_text(json.dumps(info))
    return from_model(model, copy)


def without_model(copy: Path) -> Path:
    """Makes a root `copy` that a gateway can start on, but no model server."""
    model = copy / 'model'
    model.mkdir(parents=True)
    (model / push_target.SAVED_MODEL).write_text('no model')
    return from_model(model, copy)


def from_model(model: Path, copy: Path) -> Path:
    """Makes a root `copy` whose push directory has an exported model twice."""
    pushed = push.publish(str(model), str(copy / 'staged'), _manifest)
    for number in (STABLE, CANDIDATE):
        _copy(Path(pushed.path), RunRoot(copy).serving, number)
    return _release(copy)


def _release(root: Path) -> Path:
    Releases(RunRoot(root).serving, MODEL_NAME).move('promote', 'stable', STABLE, 'benchmark')
    return root


def _copy(version: Path, target: Path, number: int) -> None:
    shutil.copytree(version, target / str(number))
    manifest = target / str(number) / push_target.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), 'version': str(number)}))


def _manifest(
    version: str, model_digest: str, files: dict[str, push_target.FileDigest]
) -> push_target.Manifest:
    return push_target.Manifest(
        version=version,
        model_digest=model_digest,
        files=files,
        pipeline_name='benchmark',
        run_id='benchmark',
        candidate_key='benchmark',
        model_uri='benchmark',
        push_nonce='benchmark',
        pushed_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
    )
