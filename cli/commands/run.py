"""`cxr-triage run`: runs the whole pipeline on this machine."""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib

import storage
from cli import experiment_options as options
from cli import run_if_needed, run_name
from pipeline.exit_codes import NOT_NEEDED, cannot_write, refuse
from pipeline.run_root import RunRoot

_SUDDEN_END = (
    'The system ended the run: it was killed, or memory ran out. If `ulimit -v` is not '
    '"unlimited", lift that limit. '
    'Finished work is kept: run the same command again to resume. All details: {log}'
)

WHEN_INTERRUPTED = (
    'finished steps are kept, and so are the finished epochs of a training: run the same command '
    'again to resume'
)
_EXIT_CODES = """exit codes:
  0    blessed and pushed
  1    failed; the message says what to do
  3    ran to the end, but the model was not blessed
  4    not needed: nothing has changed (with --if-needed)
  130  interrupted with Ctrl-C

Finished steps and finished epochs of a training are kept:
run the same command again to resume.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `run`."""
    options.add_arguments(parser)
    run_name.add_arguments(parser, 'its start time')
    run_if_needed.add_arguments(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXIT_CODES


def run(args: argparse.Namespace) -> int:
    """Runs the pipeline; returns an exit code of `pipeline.exit_codes`."""
    from pipeline import config as config_lib
    from pipeline import data_check, quiet, run_record, sudden_end, weights
    from records import terminal

    try:
        run_if_needed.check(args)
        config = options.configuration(args)
        if config.model.weights or config.train.warm_start == 'none':
            weights.check(config.model)
        notes = data_check.check(config)
        quiet.before_tensorflow(args.verbose)
        why = run_if_needed.reasons(args, config) if args.if_needed else []
    except config_lib.ConfigError as error:
        return refuse('run', error)
    if args.if_needed and not why:
        print(f'{config.pipeline}: no run is needed, nothing has changed in {config.root}')
        return NOT_NEEDED
    now = datetime.datetime.now()
    name = now.isoformat(timespec='microseconds')
    log = os.path.join(RunRoot(config.root).logs, f'{now:%Y%m%d-%H%M%S}.log')
    try:
        with (
            quiet.logs_to(log, args.verbose) as screen,
            sudden_end.reported(screen.fileno(), _SUDDEN_END.format(log=log)),
            run_record.recording(
                config.root,
                name,
                config.pipeline,
                log,
                display_name=args.name or '',
                note=args.note or '',
                settings=config.settings(),
                why=why,
            ) as recorder,
        ):
            # Without a terminal, rich would cut tables to 80 columns.
            console = terminal.console(
                file=screen, highlight=False, width=None if screen.isatty() else 160
            )
            console.print(
                f'[bold]{config.pipeline}[/]  {config.data.root}  ->  {config.root}', soft_wrap=True
            )
            for title, text in (('name', args.name), ('note', args.note)):
                if text:
                    console.print(f'{title:<11} {text}', markup=False, soft_wrap=True)
            for reason in why:
                console.print(f'{"runs because":<11} {reason}', markup=False, soft_wrap=True)
            for warning in notes:
                console.print(f'Note: {warning}', markup=False, soft_wrap=True, style='yellow')
            with console.status('starting TensorFlow and TFX'):
                from pipeline import execute
            code = execute.execute(config, name, console, log, recorder)
            if recorder.record.state == run_record.PUSHED:
                code = _release(config, name, console)
            _write_pages(config.root, console)
            return code
    except OSError as error:
        # The log itself could not be written.
        return refuse('run', cannot_write(error))


def _release(config, run_name: str, console) -> int:
    """Releases the new version as `push.release` says; returns the exit code of the run."""
    from components.pusher import target
    from components.pusher.journal import JournalError
    from pipeline.exit_codes import FAILED, PUSHED
    from serving import running
    from serving.api.client import ModelServer
    from serving.releases import ReleaseError
    from serving.releases.release import Releases

    directory = config.push_directory
    if config.push.release == 'none' or storage.is_remote(directory):
        return PUSHED
    if not storage.exists(storage.join(directory, target.MODEL_CONFIG)):
        return PUSHED  # nothing has been released yet: `serve` starts with the newest version
    address = running.model_server(pathlib.Path(config.root) / running.FOLDER)
    releases = Releases(
        pathlib.Path(directory),
        config.serving_check.model_name,
        ModelServer(address) if address else None,
    )
    action = releases.promote if config.push.release == 'stable' else releases.canary
    try:
        version = action(releases.newest(), f'run {run_name}')
    except (ReleaseError, JournalError, target.TargetError, OSError) as error:
        console.print(f'[bold red]Not released:[/] {error}', soft_wrap=True)
        return FAILED
    console.print(f'{"released":<11} version {version} is {config.push.release}', soft_wrap=True)
    return PUSHED


def _write_pages(root: str, console) -> None:
    """Writes the pages of the root, with this run among them.

    This is not a component at the end of the graph. A component would not run after a gate that
    stopped the run, and that run needs its pages most. It would be cached in a run that changed
    nothing, though that run belongs on the pages too. And its own execution would not be complete
    when it reads the store. An interrupted run does not write pages: `ui` and `report` show it.
    """
    if storage.is_remote(root):
        return
    from pages import site

    try:
        report = site.write(pathlib.Path(root))
    except (OSError, RuntimeError) as error:
        console.print(f'The pages could not be written: {error}', markup=False, soft_wrap=True)
        return
    for problem in report.problems:
        console.print(problem, markup=False, soft_wrap=True, style='yellow')
    console.print(f'{"pages":<11} {report.front}', markup=False, soft_wrap=True)
