"""`cxr-triage submit`: runs a compiled specification on Kubeflow, with the data, thresholds and
settings of now.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys

import storage
from cli import cluster_options as cluster
from cli import experiment_options as options
from cli import server_options as remote
from pipeline.exit_codes import FAILED, NOT_BLESSED, PUSHED, refuse

_FROZEN = (
    'Every one of its runs gets the data fingerprint, settings and baseline of this moment: files '
    'that are added later do not change the\n'
    'fingerprint, so that Kubeflow takes its cache for them. To look at the data each time, call '
    'cxr-triage submit itself at those times\n'
    '(a CronJob), and not with --recurring.'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `submit`."""
    parser.add_argument('spec', metavar='SPEC.yaml', help='what cxr-triage compile wrote')
    options.add_arguments(parser)
    cluster.add_arguments(parser)
    parser.add_argument(
        '--experiment',
        metavar='NAME',
        help='the group of runs in Kubeflow (default: the name of the pipeline)',
    )
    parser.add_argument(
        '--run-name', metavar='NAME', help='(default: the name of the pipeline and the time)'
    )
    parser.add_argument(
        '--wait',
        action='store_true',
        help='show the steps until the run has ended, and exit as it did',
    )
    parser.add_argument(
        '--recurring',
        metavar='CRON',
        help=(
            "have Kubeflow repeat the run, e.g. '0 3 * * 1'; with the data as they are now, for "
            'ever'
        ),
    )
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Submits; 0 submitted (with --wait: pushed), 3 with --wait: ran but not blessed, 1 refused or
    failed.
    """
    from pipeline import quiet
    from pipeline.config import ConfigError
    from pipeline.kubeflow import submission, versions
    from pipeline.kubeflow.server_errors import ServerError

    try:
        cron = _cron(args.recurring, args.wait)
        given = submission.load(args.spec)
        config = options.configuration(args, kubeflow__image=args.image)
        # What is not set is what it was compiled for.
        images = {
            'image': config.kubeflow.image or submission.image(given),
            'gpu_image': config.kubeflow.gpu_image or submission.gpu_image(given),
        }
        config = config.model_copy(update={'kubeflow': config.kubeflow.model_copy(update=images)})
        cluster.check(config)
        cluster.check_inputs(config, args.fingerprint)
        quiet.before_tfx(args.verbose)
        server = remote.connect(args)
        now = _compiled(config, args.fingerprint)
        parameters = submission.parameters(given, now)
        push = json.loads(now[0]['root']['inputDefinitions']['parameters']['push']['defaultValue'])
        experiment = args.experiment or config.pipeline
        name = args.run_name or f'{config.pipeline} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}'
        if config.kubeflow.retries.count and not versions.retries_failed_steps(server.version):
            print(
                f'warning: this server is Kubeflow Pipelines {server.version}: '
                f'{versions.NO_RETRIES}',
                file=sys.stderr,
            )
        if cron:
            return _recur(server, args.spec, config, parameters, experiment, name, cron)
        served_before = set(storage.names(push['target'])) if args.wait else set()
        run_id = server.submit(
            args.spec, config.root, parameters, experiment, name, config.kubeflow.service_account
        )
        _tell(f'run {run_id}', server.link(run_id), parameters)
        if not args.wait:
            print(f'cxr-triage status {run_id} --follow shows its steps.')
            return 0
        found = remote.follow(server, run_id, remote.console())
    except (ConfigError, submission.SubmissionError, ServerError) as error:
        return refuse('submit', error)
    if found.state != 'SUCCEEDED':
        return FAILED
    return _report_push(run_id, push, served_before)


def _compiled(config, fingerprint: str | None) -> list:
    """What would be compiled now.

    Raises:
      ConfigError: it would be refused.
    """
    from pipeline.config import ConfigError

    pipeline = cluster.graph(config, fingerprint)
    from pipeline.kubeflow import spec

    try:
        return spec.documents(pipeline, config.kubeflow)
    except spec.SpecError as error:
        raise ConfigError(str(error)) from None


def _cron(text: str | None, wait: bool) -> str | None:
    """Kubeflow's form of a cron expression: six fields, of which the first are seconds.

    Of five it takes the first for seconds too: '0 3 * * *' would run at three minutes past every
    hour.

    Raises:
      ConfigError: it has another number of fields, or is to be waited for.
    """
    from pipeline.config import ConfigError

    if text is None:
        return None
    if wait:
        raise ConfigError('--recurring and --wait: a recurring run never ends; leave one out')
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ConfigError(
            f"--recurring {text!r}: expected minute, hour, day, month and weekday, e.g. '0 3 * * "
            "1' for Mondays at 3; "
            'or seconds before them'
        )
    return ' '.join(fields if len(fields) == 6 else ['0', *fields])


def _recur(
    server, path: str, config, parameters: dict, experiment: str, name: str, cron: str
) -> int:
    job = server.recur(
        path, config.root, parameters, experiment, name, cron, config.kubeflow.service_account
    )
    _tell(
        f'recurring run {job}, {cron} (seconds first; the time zone is that of the cluster, UTC '
        'unless set)',
        server.link(job, 'recurringrun'),
        parameters,
    )
    print(_FROZEN)
    print(f'To end it: kfp --endpoint HOST recurring delete {job}')
    return 0


def _tell(what: str, link: str, parameters: dict) -> None:
    changed = ', '.join(sorted(parameters)) or 'nothing'
    print(f'{what}\n{link}\nchanged since it was compiled: {changed}', flush=True)


def _report_push(run_id: str, push: dict[str, str], served_before: set[str]) -> int:
    """Prints whether a run pushed. The record is the manifest of a version in the push target.

    Args:
      run_id: a run that succeeded.
      push: the parameters of its Pusher.
      served_before: the versions in the target before it was submitted.
    """
    from components.pusher.target import TargetError, versions

    target, nonce = push['target'], push['push_nonce']
    try:
        is_visible = storage.exists(target) or storage.is_remote(target)
        own = [
            version
            for version in versions(target)
            if version.manifest
            and nonce in {record.push_nonce for record in version.manifest.runs()}
        ]
    except (TargetError, OSError) as error:
        return refuse('submit', f'the run succeeded, but its target cannot be read: {error}')
    if not own:
        if not is_visible:
            print(f'{target} is a folder of the pods: whether the run pushed is not visible here.')
            return 0
        print(
            f'Not blessed, not pushed to {target}. For the reasons: cxr-triage logs {run_id} '
            f'Evaluator, and cxr-triage logs {run_id} ServingCheck.'
        )
        return NOT_BLESSED
    if own[-1].version in served_before:
        print(f'Nothing to push: {own[-1].path} is this model already.')
    else:
        print(f'Pushed to {target}. Research use only, not for clinical use.')
    return PUSHED
