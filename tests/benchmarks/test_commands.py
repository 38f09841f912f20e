"""Each benchmark command on few films: it runs to its end and leaves figures that the table of
goals takes.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import evaluation, films, goals, peers, scale, startup
from benchmarks.processes import watch
from pipeline.steps import DATA_PATH

_COUNT = 300


def _command(scratch: Path, module: str, *arguments: str) -> None:
    log = scratch / f'{module}.log'
    taken = watch([sys.executable, '-m', f'benchmarks.{module}', *arguments], log)
    assert taken.exit_code == 0, log.read_text()[-3000:]


@pytest.fixture(scope='module')
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the films and runs of one count, and its figures."""
    scratch = tmp_path_factory.mktemp('benchmarks')
    data = scale.films_of(_COUNT, scratch)
    films.write(data, _COUNT, drawn=60)
    (data / scale._WRITTEN).touch()
    _command(scratch, 'scale', str(_COUNT), '--scratch', str(scratch))
    return scratch


@pytest.mark.slow
def test_scale(measured: Path) -> None:
    found = scale.figures(measured)[_COUNT]
    assert set(DATA_PATH) < set(found['steps_s'])
    assert 0 < found['reference_s'] < found['run_s']
    assert found['rerun_s'] < found['run_s']
    assert 15_000 < found['stored_bytes'] < 25_000
    assert 5e8 < found['peak_bytes'] < 8e9


@pytest.mark.slow
def test_training(measured: Path) -> None:
    root = str(scale.run_of(_COUNT, measured))
    _command(
        measured,
        'training',
        root,
        '--backbone',
        'scratch_cnn',
        '--images',
        '96',
        '--steps',
        '3',
        '--rounds',
        '1',
    )
    found = json.loads((measured / 'training.json').read_text())
    assert all(value > 0 for value in (*found['input'].values(), *found['step'].values()))


@pytest.mark.slow
def test_tracing(tmp_path: Path) -> None:
    _command(tmp_path, 'tracing', '--rounds', '1', '--scratch', str(tmp_path))
    found = json.loads((tmp_path / 'tracing.json').read_text())
    assert set(found['usual']) == set(found['ours']) == {'network', 'first step', 'export'}
    assert all(seconds > 0 for way in ('usual', 'ours') for seconds in found[way].values())


@pytest.mark.slow
def test_evaluation(measured: Path) -> None:
    found = evaluation.measure(scale.run_of(_COUNT, measured), 'scratch_cnn')
    report = max(
        (scale.run_of(_COUNT, measured) / 'artifacts/XrayExampleGen/report').glob('*/ingest.json')
    )
    assert found['films'] == json.loads(report.read_text())['splits']['test']['records']
    assert 0 < found['plain_s'] < found['evaluator_s']
    assert list((measured / 'evaluation-scratch_cnn/evaluation').glob('metrics*'))


@pytest.mark.slow
def test_peers(measured: Path) -> None:
    template, epoch = peers._template(_COUNT, measured), peers._epoch(_COUNT, measured)
    # Each value of 224 x 224 is a float32 there.
    assert template['stored_bytes'] > 25_000
    assert template['data_path_s'] > 0
    assert all(math.isfinite(rate) and rate > 0 for rate in epoch.values())


@pytest.mark.slow
def test_goals_take_what_was_measured(measured: Path) -> None:
    for name in ('scale', 'training'):
        assert (measured / f'{name}.json').exists()
    console = Console(record=True, width=200)
    console.print(goals.table(measured))
    text = console.export_text()
    assert 'data path over one plain pass' in text
    assert 'training step over bare Keras fit' in text


@pytest.mark.slow
def test_what_is_started_can_be_started(tmp_path: Path) -> None:
    program, *imports = startup.commands().values()
    # All in one process: one each would import TensorFlow fifteen times.
    together = [sys.executable, '-c', '\n'.join(statement for _, _, statement in imports)]
    for command in (program, together):
        log = tmp_path / 'log'
        assert watch(command, log).exit_code == 0, f'{command}: {log.read_text()[-2000:]}'
