"""`cxr-triage logs`: what the steps of a run on Kubeflow wrote."""

from __future__ import annotations

import argparse
import sys

from cli import server_options as remote
from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `logs`."""
    parser.add_argument('run_id', metavar='RUN_ID', help='as submit told it')
    parser.add_argument(
        'step',
        nargs='?',
        metavar='STEP',
        help='e.g. Trainer (default: those that failed or were stopped; where none was, all)',
    )
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the log of each step's last attempt; 0 all were there, 1 one is not."""
    from pipeline.kubeflow.server_errors import ServerError

    try:
        server = remote.connect(args)
        found = server.run(args.run_id)
        steps = _chosen(found, args.step)
    except ServerError as error:
        return refuse('logs', error)
    code = 0
    for step in steps:
        if len(steps) > 1:
            print(f'=== {step.name}', flush=True)
        try:
            if not step.pods:
                raise ServerError(f'{step.name} has no log: {_WHY[step.state]}')
            sys.stdout.write(
                server.log(args.run_id, step.pods[-1], found.namespace).rstrip('\n') + '\n'
            )
        except ServerError as error:
            code = refuse(
                'logs',
                f'{error}\n{_elsewhere(found, step)}'
                if step.pods and not error.temporary
                else error,
            )
    return code


_WHY = {
    'waiting': 'it has not begun',
    'skipped': 'it never ran',
    'cached': 'it was found in the cache',
    'stopped': 'the run was cancelled, and this server names no pod of it',
    'running': 'its container has not started',
    'done': 'this server names no pod of it (its older API, v1beta1, is what does)',
    'failed': 'this server names no pod of it (its older API, v1beta1, is what does)',
}


def _chosen(run, name: str | None) -> list:
    """The steps to print.

    Raises:
      ServerError: there is none by that name, or none that wrote anything.
    """
    from pipeline.kubeflow.server_errors import ServerError

    if name:
        chosen = [step for step in run.steps if step.name == name]
        if not chosen:
            raise ServerError(
                f'{run.name} has no step {name!r}. There are: '
                f'{", ".join(step.name for step in run.steps) or "none yet"}'
            )
        return chosen
    failed = [step for step in run.steps if step.state == 'failed'] or [
        step for step in run.steps if step.state == 'stopped'
    ]
    chosen = failed or [step for step in run.steps if step.pods]
    if not chosen:
        raise ServerError(f'no step of {run.name} has a log yet')
    return chosen


def _elsewhere(run, step) -> str:
    """Where to find a log that the server does not have."""
    from pipeline.kubeflow.runs import ROOT_DRIVER

    namespace = f' -n {run.namespace}' if run.namespace else ''
    pod, attempt = step.pods[-1], len(step.pods) - 1
    if step.state == 'running':
        waits = f'{step.name} waits: {step.detail}\n' if step.detail else ''
        return (
            f'{waits}What its pod does: kubectl describe pod{namespace} {pod}; kubectl '
            f'logs{namespace} {pod} -c main\n'
            'To have the log of a pod that runs, give the address of the user interface '
            '(svc/ml-pipeline-ui) as --host.'
        )
    there = (
        'While the pod is there (one hour after the end of the run, unless set otherwise): '
        f'kubectl logs{namespace} {pod} -c main'
    )
    if step.name == ROOT_DRIVER:
        return there
    folder = f'{run.folder or "in the pipeline root"}/{step.name}/…/executor-logs-{attempt}'
    return f'{there}\nLater: a copy is with the artifacts, {folder}'
