"""`cxr-triage logs`: prints the logs of the steps of a run on Kubeflow."""

from __future__ import annotations

import argparse
import sys

from cli import server_options as remote
from pipeline.exit_codes import refuse

_NO_LOG = {
    'waiting': 'it has not started',
    'skipped': 'it never ran',
    'cached': 'its result came from the cache',
    'stopped': 'the run was cancelled, and this server names no pod of it',
    'running': 'its container has not started',
    'done': 'this server names no pod of it (the older API, v1beta1, does)',
    'failed': 'this server names no pod of it (the older API, v1beta1, does)',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `logs`."""
    parser.add_argument('run_id', metavar='RUN_ID', help='the id that submit printed')
    parser.add_argument(
        'step',
        nargs='?',
        metavar='STEP',
        help='e.g. Trainer (default: the steps that failed or were stopped; without any, all)',
    )
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the log of each step's last attempt; returns 0, or 1 if one is missing."""
    from pipeline.kubeflow.server_errors import ServerError

    try:
        server = remote.connect(args)
        kubeflow_run = server.run(args.run_id)
        steps = _select_steps(kubeflow_run, args.step)
    except ServerError as error:
        return refuse('logs', error)
    code = 0
    for step in steps:
        if len(steps) > 1:
            print(f'=== {step.name}', flush=True)
        try:
            if not step.pods:
                raise ServerError(f'{step.name} has no log: {_NO_LOG[step.state]}')
            log = server.log(args.run_id, step.pods[-1], kubeflow_run.namespace)
            sys.stdout.write(log.rstrip('\n') + '\n')
        except ServerError as error:
            code = refuse(
                'logs',
                f'{error}\n{_other_locations(kubeflow_run, step)}'
                if step.pods and not error.temporary
                else error,
            )
    return code


def _select_steps(kubeflow_run, name: str | None) -> list:
    """The steps whose logs are printed.

    Raises:
      ServerError: no step has that name, or no step has a log yet.
    """
    from pipeline.kubeflow.server_errors import ServerError

    if name:
        steps = [step for step in kubeflow_run.steps if step.name == name]
        if not steps:
            names = ', '.join(step.name for step in kubeflow_run.steps)
            raise ServerError(
                f'{kubeflow_run.name} has no step {name!r}. Its steps: {names or "none yet"}'
            )
        return steps
    steps = (
        [step for step in kubeflow_run.steps if step.state == 'failed']
        or [step for step in kubeflow_run.steps if step.state == 'stopped']
        or [step for step in kubeflow_run.steps if step.pods]
    )
    if not steps:
        raise ServerError(f'no step of {kubeflow_run.name} has a log yet')
    return steps


def _other_locations(kubeflow_run, step) -> str:
    """Where to find a log that the server does not have."""
    from pipeline.kubeflow.runs import ROOT_DRIVER

    namespace = f' -n {kubeflow_run.namespace}' if kubeflow_run.namespace else ''
    pod, attempt = step.pods[-1], len(step.pods) - 1
    if step.state == 'running':
        detail = f'{step.name} waits: {step.detail}\n' if step.detail else ''
        return (
            f'{detail}What its pod does: kubectl describe pod{namespace} {pod}; kubectl '
            f'logs{namespace} {pod} -c main\n'
            'For the log of a running pod, give the address of the user interface '
            '(svc/ml-pipeline-ui) as --host.'
        )
    command = (
        'While the pod exists (one hour after the end of the run, unless set otherwise): '
        f'kubectl logs{namespace} {pod} -c main'
    )
    if step.name == ROOT_DRIVER:
        return command
    folder = kubeflow_run.folder or 'in the pipeline root'
    return (
        f'{command}\nLater: a copy is with the artifacts, '
        f'{folder}/{step.name}/…/executor-logs-{attempt}'
    )
