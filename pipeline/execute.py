"""One local run from the data's files to the verdict, told to a person."""

from __future__ import annotations

import errno
import logging
import os
import pathlib
from collections.abc import Iterator

from rich.console import Console
from tfx.types import artifact_utils

import storage
from components.pusher import push
from components.pusher import target as push_target
from components.xray_example_gen import data_files
from pipeline import counts, create_pipeline, local_runner, metrics, picture, root_lock, summary
from pipeline.config import Config, ConfigError
from pipeline.display import RunDisplay
from pipeline.error_text import presentable
from pipeline.exit_codes import FAILED, NOT_BLESSED, PUSHED
from records.data_root import fingerprint, scan
from schemas.signatures import PROBABILITY


def execute(config: Config, run_id: str, console: Console, log: str) -> int:
    """Runs the pipeline and prints what came of it.

    Args:
      config: with absolute paths, `root` and `data.root` set.
      run_id: names the run in the metadata store.
      console: where the person looks.
      log: the file that the logs go to, to be named.

    Returns:
      One of `pipeline.exit_codes`.
    """
    assert config.root is not None
    steps: dict[str, local_runner.Step] = {}
    try:
        with root_lock.hold(config.root):
            check_weights(config)
            with RunDisplay(console) as display:
                push.restore(config.push_directory, _copies_of_versions(config))
                pipeline = create_pipeline.create_pipeline(
                    config, data_fingerprint(config), local_runner.metadata_config(config.root)
                )
                for step in local_runner.run(pipeline, display, run_id, counts.check):
                    steps[step.name] = step
    except Exception as error:
        logging.getLogger('cxr_triage').error('run failed', exc_info=error)
        if 'Pusher' not in steps:
            _tell(error, steps, console, log)
            _tell_if_served(error, config, run_id, console)
            return FAILED
        _tell_unshown(error, console, log)
    try:
        _show(config, steps, console, log)
    except Exception as error:
        # Whether the model was pushed is decided: what goes wrong now changes neither that nor the
        # exit code.
        logging.getLogger('cxr_triage').error('the results could not be shown', exc_info=error)
        _tell_unshown(error, console, log)
    return _conclude(config, steps, console)


def _copies_of_versions(config: Config) -> Iterator[str]:
    """The folders that earlier runs on the root made as copies of served versions (Pusher's and
    Baseline's artifacts).
    """
    for path in pathlib.Path(config.artifacts_directory).rglob(push_target.MANIFEST):
        yield str(path.parent)


def data_fingerprint(config: Config) -> str:
    """The fingerprint of all files that ingestion reads.

    Raises:
      DataRootError: there are none, or a side file is missing.
      OSError: a folder cannot be listed.
    """
    assert config.data.root is not None
    data_root = scan(config.data.root, config.data.patterns)
    data = data_files.locate(config.data, data_root)
    return fingerprint(
        data_root.path, data_root.of_spans(data.spans), data_files.side_paths(data_root.path, data)
    )


def check_weights(config: Config) -> None:
    """Looks for the weights before the first step, and not when the films are read and transformed.

    Raises:
      ConfigError: they are not there.
    """
    path = config.model.weights
    if path and not storage.exists(path):
        raise ConfigError(
            f'{path}: no such file. Give ImageNet weights of {config.model.backbone} without the '
            'top with --weights, or as model.weights.'
        )


def _show(config: Config, steps: dict[str, local_runner.Step], console: Console, log: str) -> None:
    evaluation_uri = artifact_utils.get_single_uri(steps['Evaluator'].outputs['evaluation'])
    console.print()
    console.print(summary.steps_table(steps.values()))
    console.print()
    console.print(metrics.figures_table(evaluation_uri))
    console.print()
    console.print(metrics.verdict_table(metrics.verdicts(config.evaluation, evaluation_uri)))
    console.print()
    picture_path = os.path.join(
        config.root or '', 'pictures', os.path.splitext(os.path.basename(log))[0] + '.svg'
    )
    os.makedirs(os.path.dirname(picture_path), exist_ok=True)
    curves = picture.read_curves(evaluation_uri, PROBABILITY)
    with open(picture_path, 'w', encoding='utf-8') as file:
        file.write(picture.draw(curves, metrics.overall_metrics(evaluation_uri), config.pipeline))
    audit = os.path.join(
        artifact_utils.get_single_uri(steps['DataAudit'].outputs['audit']), 'audit.html'
    )
    for name, path in (
        ('data audit', audit),
        ('evaluation', evaluation_uri),
        ('picture', picture_path),
        ('logs', log),
    ):
        console.print(f'{name:<11} {path}', markup=False, soft_wrap=True)


def _conclude(config: Config, steps: dict[str, local_runner.Step], console: Console) -> int:
    """Says what became of the model; returns the exit code."""
    pushed = summary.pushed(steps['Pusher'])
    if pushed is not None:
        console.print(f'{"model":<11} {pushed.path}', markup=False, soft_wrap=True)
        console.print(
            f'[bold green]{pushed.words}[/] Research use only, not for clinical use.',
            soft_wrap=True,
        )
        return PUSHED
    console.print('[bold red]Not blessed, not pushed:[/]')
    try:
        reasons = _reasons(config, steps)
    except Exception as error:
        logging.getLogger('cxr_triage').error('the reasons could not be read', exc_info=error)
        reasons = [f'the reasons cannot be read: {_words(error)}']
    for reason in reasons or ['the Evaluator gave no reason; see its validation result']:
        console.print(f'  {reason}', markup=False, soft_wrap=True)
    return NOT_BLESSED


def _reasons(config: Config, steps: dict[str, local_runner.Step]) -> list[str]:
    verdicts = metrics.verdicts(
        config.evaluation, artifact_utils.get_single_uri(steps['Evaluator'].outputs['evaluation'])
    )
    reasons = [verdict.sentence() for verdict in verdicts if not verdict.passed]
    return reasons + [
        f'serving check: {problem}' for problem in summary.serving_problems(steps['ServingCheck'])
    ]


def _tell(
    error: BaseException, steps: dict[str, local_runner.Step], console: Console, log: str
) -> None:
    """The cause in plain words, then what to do."""
    step = error.step if isinstance(error, local_runner.StepError) else None
    cause = error.__cause__ if step else error
    stopped = f'The run stopped after {list(steps)[-1]}' if steps else 'The run could not start'
    console.print(f'\n[bold red]{f"{step} failed" if step else stopped}:[/]')
    # Unwrapped: paths are there to be copied.
    console.print(_words(cause), markup=False, soft_wrap=True)
    console.print('\nAll details: ' + log, markup=False, soft_wrap=True)
    if step:
        console.print(
            'What was done before this step is kept: fix the cause and run the same command again.'
        )


def _tell_if_served(error: BaseException, config: Config, run_id: str, console: Console) -> None:
    """Says that this run's model is served where Pusher failed after the push, for example because
    the disk was full.
    """
    if not isinstance(error, local_runner.StepError) or error.step != 'Pusher':
        return
    try:
        served = push_target.newest(config.push_directory)
    except (push_target.TargetError, OSError):
        return
    if served and served.manifest and run_id in {run.run_id for run in served.manifest.runs()}:
        console.print(
            f'The model is served all the same, as version {served.version}: {served.path}. The '
            'push was complete before the failure, '
            'and the same command pushes nothing twice.',
            markup=False,
            soft_wrap=True,
        )


def _tell_unshown(error: BaseException, console: Console, log: str) -> None:
    console.print('\n[bold yellow]All steps are done, but their results could not be shown:[/]')
    console.print(f'{_words(error)}\nAll details: {log}\n', markup=False, soft_wrap=True)


def _words(error: BaseException | None) -> str:
    text = str(error).strip() or type(error).__name__
    # Beam puts the traceback of the worker into the message; the last line says what happened.
    if 'Traceback (most recent call last)' in text:
        text = text.splitlines()[-1]
    text = presentable(text)
    if _disk_is_full(error):
        return f'the disk is full: {text}\nMake room, then run the same command again.'
    if _memory_ran_out(error):
        return (
            f'memory ran out: {text}\nGive the run more, or lift the limit (ulimit -v unlimited), '
            'then run the same command again.'
        )
    known = isinstance(error, ValueError | OSError | RuntimeError)
    return text if known else f'{type(error).__name__}: {text}'


def _memory_ran_out(error: BaseException | None) -> bool:
    """By type or number where Python asked for it; by its words where Beam hands on only these."""
    words = (
        os.strerror(errno.ENOMEM),
        "can't start new thread",
        'MemoryError',
        'std::bad_alloc',
        'OOM when allocating',
    )
    while error is not None:
        if isinstance(error, MemoryError) or any(each in str(error) for each in words):
            return True
        error = error.__cause__ or error.__context__
    return False


def _disk_is_full(error: BaseException | None) -> bool:
    """By number where Python wrote; by TensorFlow's and SQLite's words where they did."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(
            words in str(error)
            for words in (
                os.strerror(errno.ENOSPC),
                os.strerror(errno.EDQUOT),
                'database or disk is full',
            )
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
