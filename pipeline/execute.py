"""Executes one local run, from the data files to the verdict on the screen."""

from __future__ import annotations

import errno
import logging
import os
import pathlib
from collections.abc import Iterator

from rich.console import Console
from tfx.types import artifact_utils

import storage
from components.evaluator import results
from components.pusher import push
from components.pusher import target as push_target
from pipeline import (
    counts,
    create_pipeline,
    interrupts,
    local_runner,
    metrics,
    picture,
    root_lock,
    run_inputs,
    run_record,
    summary,
    weights,
)
from pipeline.config import Config, ConfigError
from pipeline.display import RunDisplay
from pipeline.error_text import presentable
from pipeline.exit_codes import FAILED, NOT_BLESSED, PUSHED
from pipeline.run_root import RunRoot
from pipeline.steps import AUDIT, EVALUATOR, PUSHER, SERVING_CHECK


class _RecordingDisplay:
    """Writes each step to the run record, then shows it."""

    def __init__(self, display: local_runner.Display, recorder: run_record.Recorder):
        self._display, self._recorder = display, recorder

    def begin(self, name: str, number: int, total: int) -> None:
        """Records and shows that a step is about to run."""
        self._recorder.begin_step(name)
        self._display.begin(name, number, total)

    def end(self, step: local_runner.Step) -> None:
        """Records and shows a step that is done."""
        self._recorder.end_step(step.name, step.state, step.seconds)
        self._display.end(step)

    def fail(self, name: str, seconds: float) -> None:
        """Records and shows a step that raised an error."""
        self._recorder.end_step(name, 'failed', seconds)
        self._display.fail(name, seconds)


def execute(
    config: Config, run_id: str, console: Console, log: str, recorder: run_record.Recorder
) -> int:
    """Runs the pipeline and prints its result.

    Args:
      config: the configuration, with absolute paths, `root` and `data.root` set.
      run_id: the name of the run in the metadata store.
      console: the screen.
      log: path of the log file, for messages.
      recorder: writes the run record.

    Returns:
      An exit code of `pipeline.exit_codes`.

    Example:
        >>> log = f'{config.root}/logs/first.log'
        >>> with run_record.recording(config.root, 'first', config.pipeline, log) as recorder:
        ...     execute(config, 'first', Console(), log, recorder)
        0
    """
    assert config.root is not None
    steps: dict[str, local_runner.Step] = {}
    try:
        with (
            root_lock.acquire(config.root),
            interrupts.remembered() as raise_if_interrupted,
        ):
            check_weights(config)
            with RunDisplay(console) as display:
                push.restore(config.push_directory, _version_copies(config))
                inputs = run_inputs.read(config)
                recorder.read_inputs(inputs)
                pipeline = create_pipeline.create_pipeline(
                    config, inputs[run_inputs.DATA], local_runner.metadata_config(config.root)
                )
                if version := create_pipeline.warm_start_version(pipeline):
                    recorder.read_inputs({**inputs, run_inputs.WARM_START: version})
                for step in local_runner.run(
                    pipeline, _RecordingDisplay(display, recorder), run_id, counts.check
                ):
                    steps[step.name] = step
                    if PUSHER.name not in steps:
                        raise_if_interrupted()
    except Exception as error:
        logging.getLogger('cxr_triage').error('run failed', exc_info=error)
        if PUSHER.name not in steps:
            _record_failure(error, steps, recorder)
            _print_failure(error, steps, console, log)
            _print_if_served(error, config, run_id, console)
            return FAILED
        _print_display_error(error, console, log)
    try:
        _show(config, steps, console, log)
    except Exception as error:
        # The run is complete, so an error here changes neither its result nor the exit code.
        logging.getLogger('cxr_triage').error('the results could not be shown', exc_info=error)
        _print_display_error(error, console, log)
    return _conclude(config, steps, console, recorder)


def _record_failure(
    error: BaseException, steps: dict[str, local_runner.Step], recorder: run_record.Recorder
) -> None:
    if isinstance(error, local_runner.StepError):
        recorder.end(run_record.FAILED, [f'{error.step} failed: {_explain(error.__cause__)}'])
    elif steps:
        reason = f'it ended after {list(steps)[-1]}: {_explain(error)}'
        recorder.end(run_record.FAILED, [reason])
    else:
        recorder.end(run_record.NOT_STARTED, [_explain(error)])


def _version_copies(config: Config) -> Iterator[str]:
    """The folders with copies of served versions, which are artifacts of Pusher and Baseline."""
    for path in pathlib.Path(config.artifacts_directory).rglob(push_target.MANIFEST):
        yield str(path.parent)


def check_weights(config: Config) -> None:
    """Checks that the weights exist, so that a run does not fail only when training starts.

    Raises:
      ConfigError: the file does not exist.
    """
    path = config.model.weights
    if path and not storage.exists(path):
        raise ConfigError(f'{path}: no such file. {weights.advice(config.model.backbone)}')


def _show(config: Config, steps: dict[str, local_runner.Step], console: Console, log: str) -> None:
    evaluation_uri = artifact_utils.get_single_uri(steps[EVALUATOR.name].outputs['evaluation'])
    console.print()
    console.print(summary.steps_table(steps.values()))
    console.print()
    evaluation = results.read(evaluation_uri)
    console.print(metrics.metrics_table(evaluation))
    console.print()
    console.print(metrics.verdict_table(metrics.verdicts(config.evaluation.thresholds, evaluation)))
    console.print()
    picture_path = os.path.join(
        RunRoot(config.root or '').pictures, os.path.splitext(os.path.basename(log))[0] + '.svg'
    )
    os.makedirs(os.path.dirname(picture_path), exist_ok=True)
    with open(picture_path, 'w', encoding='utf-8') as file:
        file.write(picture.draw(evaluation.overall, config.pipeline))
    audit = os.path.join(
        artifact_utils.get_single_uri(steps[AUDIT.name].outputs['audit']), 'audit.html'
    )
    for name, path in (
        ('data audit', audit),
        ('evaluation', evaluation_uri),
        ('picture', picture_path),
        ('logs', log),
    ):
        console.print(f'{name:<11} {path}', markup=False, soft_wrap=True)


def _conclude(
    config: Config,
    steps: dict[str, local_runner.Step],
    console: Console,
    recorder: run_record.Recorder,
) -> int:
    """Prints and records whether the model is served; returns the exit code."""
    pushed = summary.pushed(steps[PUSHER.name])
    if pushed is not None:
        state = run_record.PUSHED if pushed.is_new else run_record.SERVED
        recorder.end(state, version=os.path.basename(pushed.path))
        console.print(f'{"model":<11} {pushed.path}', markup=False, soft_wrap=True)
        console.print(
            f'[bold green]{pushed.outcome}[/] Research use only, not for clinical use.',
            soft_wrap=True,
        )
        return PUSHED
    console.print('[bold red]Not blessed, not pushed:[/]')
    try:
        reasons = _reasons(config, steps)
    except Exception as error:
        logging.getLogger('cxr_triage').error('the reasons could not be read', exc_info=error)
        reasons = [f'the reasons cannot be read: {_explain(error)}']
    reasons = reasons or ['the Evaluator gave no reason; see its validation result']
    recorder.end(run_record.NOT_BLESSED, reasons)
    for reason in reasons:
        console.print(f'  {reason}', markup=False, soft_wrap=True)
    return NOT_BLESSED


def _reasons(config: Config, steps: dict[str, local_runner.Step]) -> list[str]:
    evaluation_uri = artifact_utils.get_single_uri(steps[EVALUATOR.name].outputs['evaluation'])
    evaluation = results.read(evaluation_uri, plots=False)
    verdicts = metrics.verdicts(config.evaluation.thresholds, evaluation)
    reasons = [verdict.sentence() for verdict in verdicts if not verdict.passed]
    return reasons + [
        f'serving check: {problem}'
        for problem in summary.serving_problems(steps[SERVING_CHECK.name])
    ]


def _print_failure(
    error: BaseException, steps: dict[str, local_runner.Step], console: Console, log: str
) -> None:
    """Prints the cause and what to do."""
    step = error.step if isinstance(error, local_runner.StepError) else None
    cause = error.__cause__ if step else error
    stopped = f'The run stopped after {list(steps)[-1]}' if steps else 'The run could not start'
    console.print(f'\n[bold red]{f"{step} failed" if step else stopped}:[/]')
    # Not wrapped, so that users can copy paths.
    console.print(_explain(cause), markup=False, soft_wrap=True)
    console.print('\nAll details: ' + log, markup=False, soft_wrap=True)
    if step:
        console.print(
            'The results of earlier steps are kept: fix the cause and run the same command again.'
        )


def _print_if_served(error: BaseException, config: Config, run_id: str, console: Console) -> None:
    """Reports that the model is served if Pusher failed after the push, e.g. on a full disk."""
    if not isinstance(error, local_runner.StepError) or error.step != PUSHER.name:
        return
    try:
        served = push_target.newest(config.push_directory)
    except (push_target.TargetError, OSError):
        return
    if served and served.manifest and run_id in {run.run_id for run in served.manifest.runs()}:
        console.print(
            f'The model is served nevertheless, as version {served.version}: {served.path}. The '
            'push was complete before the failure, '
            'and the same command does not push it again.',
            markup=False,
            soft_wrap=True,
        )


def _print_display_error(error: BaseException, console: Console, log: str) -> None:
    console.print('\n[bold yellow]All steps are done, but their results could not be shown:[/]')
    console.print(f'{_explain(error)}\nAll details: {log}\n', markup=False, soft_wrap=True)


def _explain(error: BaseException | None) -> str:
    text = str(error).strip() or type(error).__name__
    # Beam's message contains the traceback of the worker; its last line is the error.
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
    has_clear_text = isinstance(error, ValueError | OSError | RuntimeError)
    return text if has_clear_text else f'{type(error).__name__}: {text}'


def _memory_ran_out(error: BaseException | None) -> bool:
    """Checks the type of the error, and its text because Beam passes on nothing else."""
    messages = (
        os.strerror(errno.ENOMEM),
        "can't start new thread",
        'MemoryError',
        'std::bad_alloc',
        'OOM when allocating',
    )
    while error is not None:
        if isinstance(error, MemoryError) or any(text in str(error) for text in messages):
            return True
        error = error.__cause__ or error.__context__
    return False


def _disk_is_full(error: BaseException | None) -> bool:
    """Checks the number of a Python error, and the text of an error of TensorFlow or SQLite."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(
            message in str(error)
            for message in (
                os.strerror(errno.ENOSPC),
                os.strerror(errno.EDQUOT),
                'database or disk is full',
            )
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
