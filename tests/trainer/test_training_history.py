"""The training history survives a truncated line, replaces repeated epochs, and exports a CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import tensorflow as tf

from trainer.training_history import TrainingHistory


def _table(training_history: TrainingHistory, folder: Path) -> list[dict[str, str]]:
    training_history.to_csv(str(folder / 'history.csv'))
    with (folder / 'history.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_a_new_process_reads_the_history(tmp_path: Path) -> None:
    path = str(tmp_path / 'state' / 'history.jsonl')
    first = TrainingHistory(path, str(tmp_path / 'logs'))
    first.write('head', 0, {'loss': 0.5})
    first.write('training', 0, {'loss': 0.25, 'val_auc': 0.75})
    rows = _table(TrainingHistory(path, str(tmp_path / 'logs')), tmp_path)
    assert rows == [
        {'phase': 'head', 'epoch': '0', 'loss': '0.5', 'val_auc': ''},
        {'phase': 'training', 'epoch': '0', 'loss': '0.25', 'val_auc': '0.75'},
    ]


def test_a_repeated_epoch_replaces_the_first_one(tmp_path: Path) -> None:
    training_history = TrainingHistory(str(tmp_path / 'history.jsonl'), str(tmp_path / 'logs'))
    for epoch, loss in ((0, 3.0), (1, 2.0), (1, 1.0)):
        training_history.write('training', epoch, {'loss': loss})
    assert [(row['epoch'], row['loss']) for row in _table(training_history, tmp_path)] == [
        ('0', '3.0'),
        ('1', '1.0'),
    ]


@pytest.mark.parametrize('cut', range(1, 40, 6))
def test_a_truncated_last_line_is_ignored(cut: int, tmp_path: Path) -> None:
    path = tmp_path / 'history.jsonl'
    training_history = TrainingHistory(str(path), str(tmp_path / 'logs'))
    training_history.write('training', 0, {'loss': 1.0})
    training_history.write('training', 1, {'loss': 0.5})
    path.write_bytes(path.read_bytes()[: -cut - 1])
    reopened = TrainingHistory(str(path), str(tmp_path / 'logs'))
    assert [row['epoch'] for row in _table(reopened, tmp_path)] == ['0']
    reopened.write('training', 1, {'loss': 0.5})
    assert [
        row['epoch'] for row in _table(TrainingHistory(str(path), str(tmp_path / 'logs')), tmp_path)
    ] == ['0', '1']


def test_nan_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / 'history.jsonl')
    TrainingHistory(path, str(tmp_path / 'logs')).write('training', 0, {'loss': float('nan')})
    assert _table(TrainingHistory(path, str(tmp_path / 'logs')), tmp_path)[0]['loss'] == 'nan'


def test_tensorboard_gets_each_figure(tmp_path: Path) -> None:
    TrainingHistory(str(tmp_path / 'history.jsonl'), str(tmp_path / 'logs')).write(
        'training', 2, {'val_auc': 0.875}
    )
    (file,) = (tmp_path / 'logs').glob('events*')
    scalars = [
        (event.step, value.tag, float(tf.make_ndarray(value.tensor)))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert scalars == [(2, 'training/val_auc', 0.875)]


def test_the_table_has_every_epoch_at_once(tmp_path: Path) -> None:
    path, table = str(tmp_path / 'history.jsonl'), tmp_path / 'run' / 'history.csv'
    TrainingHistory(path, str(tmp_path / 'logs'), str(table)).write('training', 0, {'loss': 1.0})
    assert table.read_text(encoding='utf-8').splitlines() == ['phase,epoch,loss', 'training,0,1.0']
    # A run that resumes has another folder. It has all epochs before it trains the next one.
    resumed = tmp_path / 'resumed' / 'history.csv'
    TrainingHistory(path, str(tmp_path / 'logs'), str(resumed))
    assert resumed.read_text(encoding='utf-8') == table.read_text(encoding='utf-8')
