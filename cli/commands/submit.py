"""`cxr-triage submit`: runs a compiled specification with the current data and settings."""

from __future__ import annotations

import argparse
import datetime
import json
import sys

import storage
from cli import cluster_options as cluster
from cli import experiment_options as options
from cli import run_name
from cli import server_options as remote
from pipeline.exit_codes import FAILED, NOT_BLESSED, PUSHED, refuse

_FROZEN = (
    'All its runs get the present data fingerprint, settings and baseline. Files that are added '
    'later do not change the\n'
    'fingerprint, so Kubeflow answers from its cache. To read the data each time, leave out '
    '--recurring and call\n'
    'cxr-triage submit at those times (a CronJob).'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `submit`."""
    parser.add_argument(
        'spec', metavar='SPEC.yaml', help='the specification that cxr-triage compile wrote'
    )
    options.add_arguments(parser)
    cluster.add_arguments(parser)
    parser.add_argument(
        '--experiment',
        metavar='NAME',
        help='the group of runs in Kubeflow (default: the name of the pipeline)',
    )
    run_name.add_arguments(parser, 'the name of the pipeline and the time')
    parser.add_argument(
        '--wait',
        action='store_true',
        help='show the steps until the run has ended; the exit code is then that of the run',
    )
    parser.add_argument(
        '--recurring',
        metavar='CRON',
        help=(
            "repeat the run at these times, e.g. '0 3 * * 1', always with the data of the time of "
            'submission'
        ),
    )
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Submits the run.

    Returns 0 if submitted (with --wait: pushed), 3 if not blessed (with --wait), 1 if it failed.
    """
    from pipeline import quiet
    from pipeline.config import ConfigError
    from pipeline.kubeflow import submission, versions
    from pipeline.kubeflow.server_errors import ServerError

    try:
        cron = _cron(args.recurring, args.wait)
        spec = submission.load(args.spec)
        config = options.configuration(args, kubeflow__image=args.image)
        # Without a setting, the images are those of the specification.
        images = {
            'image': config.kubeflow.image or submission.image(spec),
            'gpu_image': config.kubeflow.gpu_image or submission.gpu_image(spec),
        }
        config = config.model_copy(update={'kubeflow': config.kubeflow.model_copy(update=images)})
        cluster.check(config)
        cluster.check_inputs(config, args.fingerprint)
        quiet.before_tfx(args.verbose)
        server = remote.connect(args)
        current_spec = _compile(config, args.fingerprint)
        parameters = submission.parameters(spec, current_spec)
        inputs = current_spec[0]['root']['inputDefinitions']['parameters']
        push = json.loads(inputs['push']['defaultValue'])
        experiment = args.experiment or config.pipeline
        name = args.name or f'{config.pipeline} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}'
        if config.kubeflow.retries.count and not versions.retries_failed_steps(server.version):
            print(
                f'warning: this server is Kubeflow Pipelines {server.version}: '
                f'{versions.NO_RETRIES}',
                file=sys.stderr,
            )
        if cron:
            return _submit_recurring(
                server, args, config, parameters, experiment=experiment, name=name, cron=cron
            )
        served_before = set(storage.names(push['target'])) if args.wait else set()
        run_id = server.submit(
            args.spec,
            config.root,
            parameters,
            experiment,
            name,
            config.kubeflow.service_account,
            args.note or '',
        )
        _print_submitted(f'run {run_id}', server.link(run_id), parameters)
        if not args.wait:
            print(f'cxr-triage status {run_id} --follow shows its steps.')
            return 0
        kubeflow_run = remote.follow(server, run_id, remote.console())
    except (ConfigError, submission.SubmissionError, ServerError) as error:
        return refuse('submit', error)
    if kubeflow_run.state != 'SUCCEEDED':
        return FAILED
    return _report_push(run_id, push, served_before)


def _compile(config, fingerprint: str | None) -> list:
    """The specification that `compile` would write now.

    Raises:
      ConfigError: the configuration cannot be compiled.
    """
    from pipeline.config import ConfigError

    pipeline = cluster.graph(config, fingerprint)
    from pipeline.kubeflow import spec

    try:
        return spec.documents(pipeline, config.kubeflow)
    except spec.SpecError as error:
        raise ConfigError(str(error)) from None


def _cron(text: str | None, wait: bool) -> str | None:
    """Kubeflow's form of a cron expression: six fields, the first one for seconds.

    Kubeflow also takes the first of five fields for seconds: it would run '0 3 * * *' at three
    minutes past every hour.

    Raises:
      ConfigError: `text` does not have 5 or 6 fields, or comes together with --wait.
    """
    from pipeline.config import ConfigError

    if text is None:
        return None
    if wait:
        raise ConfigError('--recurring and --wait: a recurring run never ends; leave one out')
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ConfigError(
            f'--recurring {text!r}: expected minute, hour, day, month and weekday, e.g. '
            "'0 3 * * 1' for Mondays at 3; or seconds before them"
        )
    return ' '.join(fields if len(fields) == 6 else ['0', *fields])


def _submit_recurring(
    server,
    args: argparse.Namespace,
    config,
    parameters: dict,
    *,
    experiment: str,
    name: str,
    cron: str,
) -> int:
    job = server.recur(
        args.spec,
        config.root,
        parameters,
        experiment,
        name,
        cron,
        config.kubeflow.service_account,
        args.note or '',
    )
    _print_submitted(
        f'recurring run {job}, {cron} (seconds first, in the time zone of the cluster, usually '
        'UTC)',
        server.link(job, 'recurringrun'),
        parameters,
    )
    print(_FROZEN)
    print(f'To end it: kfp --endpoint HOST recurring delete {job}')
    return 0


def _print_submitted(title: str, link: str, parameters: dict) -> None:
    changed = ', '.join(sorted(parameters)) or 'nothing'
    print(f'{title}\n{link}\nchanged since it was compiled: {changed}', flush=True)


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
