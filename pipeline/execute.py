"""One local run from the data's files to the verdict, told to a person."""

from __future__ import annotations

import errno
import logging
import os

from rich.console import Console
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.xray_example_gen.shard import side_files
from pipeline import counts, create_pipeline, local_runner, metrics, picture, root_lock, summary
from pipeline.config import Config, ConfigError
from pipeline.display import RunDisplay
from pipeline.exit_codes import FAILED, NOT_BLESSED, PUSHED
from records.data_root import find_files, fingerprint
from trainer.contract import PROBABILITY


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
    try:
        with root_lock.hold(config.root):
            check_weights(config)
            pipeline = create_pipeline.create_pipeline(config, data_fingerprint(config), local_runner.metadata_config(config.root))
            with RunDisplay(console) as display:
                steps = {step.name: step for step in local_runner.run(pipeline, display, run_id, counts.check)}
        return _conclude(config, steps, console, log)
    except Exception as error:
        logging.getLogger('cxr_triage').error('run failed', exc_info=error)
        _tell(error, console, log)
        return FAILED


def data_fingerprint(config: Config) -> str:
    """The fingerprint of all files that ingestion reads.

    Raises:
      DataRootError: there are none.
      OSError: a side file is missing.
    """
    data = config.data
    assert data.root is not None
    files = find_files(data.root, data.patterns, data.spans)
    return fingerprint(data.root, files, side_files(data.root, data))


def check_weights(config: Config) -> None:
    """Looks for the weights before the first step, and not when the films are read and transformed.

    Raises:
      ConfigError: they are not there.
    """
    path = config.model.weights
    if path and not fileio.exists(path):
        raise ConfigError(
            f'{path}: no such file. Give ImageNet weights of {config.model.backbone} without the top with --weights, or as model.weights.'
        )


def _conclude(config: Config, steps: dict[str, local_runner.Step], console: Console, log: str) -> int:
    evaluation_uri = artifact_utils.get_single_uri(steps['Evaluator'].outputs['evaluation'])
    verdicts = metrics.verdicts(config.evaluation, evaluation_uri)
    console.print()
    console.print(summary.steps_table(steps.values()))
    console.print()
    console.print(metrics.figures_table(evaluation_uri))
    console.print()
    console.print(metrics.verdict_table(verdicts))
    console.print()
    picture_path = os.path.join(config.root or '', 'pictures', os.path.splitext(os.path.basename(log))[0] + '.svg')
    os.makedirs(os.path.dirname(picture_path), exist_ok=True)
    curves = picture.read_curves(evaluation_uri, PROBABILITY)
    with open(picture_path, 'w', encoding='utf-8') as file:
        file.write(picture.draw(curves, metrics.overall_metrics(evaluation_uri), config.pipeline))
    audit = os.path.join(artifact_utils.get_single_uri(steps['DataAudit'].outputs['audit']), 'audit.html')
    for name, path in (('data audit', audit), ('evaluation', evaluation_uri), ('picture', picture_path), ('logs', log)):
        console.print(f'{name:<11} {path}', markup=False, soft_wrap=True)
    done, where = summary.pushed(steps['Pusher'])
    if done:
        console.print(f'{"model":<11} {where}', markup=False, soft_wrap=True)
        console.print('[bold green]Pushed.[/] Research use only, not for clinical use.')
        return PUSHED
    reasons = [f'{v.threshold.metric} on {v.threshold.name()} is {_value(v)}, asked {v.bound}' for v in verdicts if not v.passed]
    reasons += [f'serving check: {problem}' for problem in summary.serving_problems(steps['ServingCheck'])]
    console.print('[bold red]Not blessed, not pushed:[/]')
    for reason in reasons or ['the Evaluator gave no reason; see its validation result']:
        console.print(f'  {reason}', markup=False, soft_wrap=True)
    return NOT_BLESSED


def _value(verdict: metrics.Verdict) -> str:
    if verdict.value is None:
        return 'not defined (no films in this slice, or too few of a class)'
    return f'{verdict.value:.4f}' + ('' if verdict.by is None or verdict.by >= 0 else f', {-verdict.by:.4f} short')


def _tell(error: BaseException, console: Console, log: str) -> None:
    """The cause in plain words, then what to do."""
    step = error.step if isinstance(error, local_runner.StepError) else None
    cause = error.__cause__ if step else error
    console.print(f'\n[bold red]{f"{step} failed" if step else "The run could not start"}:[/]')
    # Unwrapped: paths are there to be copied.
    console.print(_words(cause), markup=False, soft_wrap=True)
    console.print('\nAll details: ' + log, markup=False, soft_wrap=True)
    if step:
        console.print('What was done before this step is kept: mend the cause and give the same command again.')


def _words(error: BaseException | None) -> str:
    text = str(error).strip() or type(error).__name__
    # Beam puts the traceback of the worker into the message; the last line says what happened.
    if 'Traceback (most recent call last)' in text:
        text = text.splitlines()[-1]
    if _disk_is_full(error):
        return f'the disk is full: {text}\nMake room, then give the same command again.'
    if _memory_ran_out(error):
        return f'memory ran out: {text}\nGive the run more, or lift the limit (ulimit -v unlimited), then give the same command again.'
    known = isinstance(error, ValueError | OSError | RuntimeError)
    return text if known else f'{type(error).__name__}: {text}'


def _memory_ran_out(error: BaseException | None) -> bool:
    """By type or number where Python asked for it; by its words where Beam hands on only these."""
    words = (os.strerror(errno.ENOMEM), "can't start new thread", 'MemoryError', 'std::bad_alloc', 'OOM when allocating')
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
        if any(words in str(error) for words in (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), 'database or disk is full')):
            return True
        error = error.__cause__ or error.__context__
    return False
