"""Each benchmark command runs with few images, and writes figures for the table of goals."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import evaluation, goals, images, peers, scale, startup
from benchmarks.processes import watch
from pipeline.steps import DATA_PATH

_COUNT = 300


def _command(scratch: Path, module: str, *arguments: str) -> None:
    log = scratch / f'{module}.log'
    usage = watch([sys.executable, '-m', f'benchmarks.{module}', *arguments], log)
    assert usage.exit_code == 0, log.read_text()[-3000:]


@pytest.fixture(scope='module')
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images and runs of one count, and its figures."""
    folder = tmp_path_factory.mktemp('benchmarks')
    data = scale.data_root(_COUNT, folder)
    images.write(data, _COUNT, drawn=60)
    (data / scale.MARKER).touch()
    _command(folder, 'scale', str(_COUNT), '--scratch', str(folder))
    return folder


@pytest.mark.slow
def test_scale_writes_figures(scratch: Path) -> None:
    figures = scale.figures(scratch)[_COUNT]
    assert set(DATA_PATH) < set(figures['steps_s'])
    assert 0 < figures['reference_s'] < figures['run_s']
    assert figures['rerun_s'] < figures['run_s']
    assert 15_000 < figures['stored_bytes'] < 25_000
    assert 5e8 < figures['peak_bytes'] < 8e9


@pytest.mark.slow
def test_training_writes_figures(scratch: Path) -> None:
    root = str(scale.run_path(_COUNT, scratch))
    _command(
        scratch,
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
    figures = json.loads((scratch / 'training.json').read_text())
    assert all(value > 0 for value in (*figures['input'].values(), *figures['step'].values()))


@pytest.mark.slow
def test_tracing_writes_figures(tmp_path: Path) -> None:
    _command(tmp_path, 'tracing', '--rounds', '1', '--scratch', str(tmp_path))
    figures = json.loads((tmp_path / 'tracing.json').read_text())
    assert set(figures['usual']) == set(figures['ours']) == {'network', 'first step', 'export'}
    assert all(seconds > 0 for way in ('usual', 'ours') for seconds in figures[way].values())


@pytest.mark.slow
def test_dicom_prints_a_row_for_each_transfer_syntax(tmp_path: Path) -> None:
    _command(tmp_path, 'dicom', '--height', '240', '--repeats', '1')
    assert (tmp_path / 'dicom.log').read_text().count('x\n') == 5


@pytest.mark.slow
def test_evaluation_returns_figures(scratch: Path) -> None:
    figures = evaluation.measure(scale.run_path(_COUNT, scratch), 'scratch_cnn')
    report = max(
        (scale.run_path(_COUNT, scratch) / 'artifacts/XrayExampleGen/report').glob('*/ingest.json')
    )
    assert figures['films'] == json.loads(report.read_text())['splits']['test']['records']
    assert 0 < figures['plain_s'] < figures['evaluator_s']
    assert list((scratch / 'evaluation-scratch_cnn/evaluation').glob('metrics*'))


@pytest.mark.slow
def test_peers_return_figures(scratch: Path) -> None:
    template, epoch = peers._template(_COUNT, scratch), peers._epoch(_COUNT, scratch)
    # The template stores 224 x 224 float32 values.
    assert template['stored_bytes'] > 25_000
    assert template['data_path_s'] > 0
    assert all(math.isfinite(rate) and rate > 0 for rate in epoch.values())


@pytest.mark.slow
def test_goals_read_the_figures(scratch: Path) -> None:
    for name in ('scale', 'training'):
        assert (scratch / f'{name}.json').exists()
    console = Console(record=True, width=200)
    console.print(goals.table(scratch))
    text = console.export_text()
    assert 'data path over one plain pass' in text
    assert 'training step over bare Keras fit' in text


@pytest.mark.slow
def test_all_commands_start(tmp_path: Path) -> None:
    program, *imports = startup.commands().values()
    # All imports in one process, as separate ones would import TensorFlow fifteen times.
    all_imports = [sys.executable, '-c', '\n'.join(statement for _, _, statement in imports)]
    for command in (program, all_imports):
        log = tmp_path / 'log'
        assert watch(command, log).exit_code == 0, f'{command}: {log.read_text()[-2000:]}'
