"""Training curves as JSON lines, which survive a killed run, as CSV, and for TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import math
import os

import tensorflow as tf

import storage


class TrainingHistory:
    """Figures by phase and epoch.

    Args:
      path: the JSON-lines file; the epochs of an earlier run are read from it.
      log_dir: folder of TensorBoard's files.
      table: a CSV file that always has all epochs so far, so that the curves of a killed run can be
        read; None for no such file.
    """

    def __init__(self, path: str, log_dir: str, table: str | None = None):
        self._path, self._table = path, table
        self._writer = tf.summary.create_file_writer(log_dir)
        self._rows: list[dict] = []
        if storage.exists(path):
            # A kill can cut the last line short.
            lines = [line for line in storage.read_text(path).splitlines() if line.endswith('}')]
            for row in map(json.loads, lines):
                self._add(row)
            self._write_table()

    def write(self, phase: str, epoch: int, figures: dict) -> None:
        """Adds an epoch, or replaces it if it was written before."""
        self._add(
            {
                'phase': phase,
                'epoch': epoch,
                **{name: float(value) for name, value in figures.items()},
            }
        )
        storage.make_dirs(os.path.dirname(self._path))
        # A kill while writing must not lose earlier epochs.
        lines = ''.join(json.dumps(row) + '\n' for row in self._rows)
        storage.replace_text(self._path, lines, part=f'{self._path}.new')
        self._write_table()

    def last(self, name: str) -> float:
        """The newest value of a figure."""
        return next(row[name] for row in reversed(self._rows) if name in row)

    def best(self, name: str, phase: str | None = None) -> float:
        """The highest value of a figure, of all phases or of one; minus infinity without values."""
        return max(
            (row[name] for row in self._rows if name in row and phase in (None, row['phase'])),
            default=-math.inf,
        )

    def _write_table(self) -> None:
        if self._table:
            storage.make_dirs(os.path.dirname(self._table))
            self.to_csv(self._table)

    def to_csv(self, path: str) -> None:
        """Writes all epochs as a table, in one step."""
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval='')
        table.writeheader()
        table.writerows(self._rows)
        storage.replace_text(path, text.getvalue(), part=f'{path}.new')

    def _add(self, row: dict) -> None:
        key = row['phase'], row['epoch']
        self._rows = [other for other in self._rows if (other['phase'], other['epoch']) != key] + [
            row
        ]
        with self._writer.as_default():
            for name, value in row.items():
                if name not in ('phase', 'epoch'):
                    tf.summary.scalar(f'{row["phase"]}/{name}', value, step=row['epoch'])
        self._writer.flush()
