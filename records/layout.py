"""Writes the files of the NIH layout, for `convert` and `synth`.

`data/NNN-COUNT.tfrec`, `preprocessed_data.csv`, `metadata/Data_Entry_2017_v2020.csv.gz` and the
official split lists. The same content gives the same bytes. A reader never sees half a file: each
one is written under a hidden name, then renamed.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from records.tfrecord import frame
from schemas.labels import LABELS

DATA_FOLDER = 'data'
PREPROCESSED = 'preprocessed_data.csv'
TABLE = 'metadata/Data_Entry_2017_v2020.csv.gz'
# The header of the NIH release; two of its names contain a comma, so a row has 11 fields.
TABLE_COLUMNS: tuple[str, ...] = (
    'Image Index',
    'Finding Labels',
    'Follow-up #',
    'Patient ID',
    'Patient Age',
    'Patient Gender',
    'View Position',
    'OriginalImage[Width',
    'Height]',
    'OriginalImagePixelSpacing[x',
    'y]',
)
# The official split: images for training and validation, images for testing.
LISTS: tuple[str, ...] = ('train_val_list', 'test_list')
_STAGE = '.partial'


class ShardWriter:
    """Writes records into files of a fixed number of records.

    `close` names the files, because a name includes the number of records.
    """

    def __init__(self, out: Path, shard_size: int) -> None:
        self._folder = out / DATA_FOLDER
        self._stage = self._folder / _STAGE
        self._shard_size = shard_size
        self._counts: list[int] = []
        self._file: io.BufferedWriter | None = None
        shutil.rmtree(self._stage, ignore_errors=True)
        self._stage.mkdir(parents=True)

    def write(self, payload: bytes) -> None:
        """Adds one serialized tf.train.Example."""
        if self._file is None or self._counts[-1] == self._shard_size:
            self._next()
        assert self._file is not None
        self._file.write(frame(payload))
        self._counts[-1] += 1

    def close(self) -> dict[str, int]:
        """Moves all files into place; returns file name -> number of records."""
        self._finish()
        width = max(3, len(str(len(self._counts) - 1)))
        names = {}
        for number, count in enumerate(self._counts):
            name = f'{number:0{width}d}-{count}.tfrec'
            os.replace(self._stage / str(number), self._folder / name)
            names[name] = count
        self._stage.rmdir()
        return names

    def discard(self) -> None:
        """Deletes the written files; does nothing after `close`."""
        self._finish()
        shutil.rmtree(self._stage, ignore_errors=True)

    def _next(self) -> None:
        self._finish()
        # _finish closes it.
        self._file = open(self._stage / str(len(self._counts)), 'wb')  # noqa: SIM115
        self._counts.append(0)

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def write_preprocessed(out: Path, rows: Iterable[tuple[str, Mapping[str, int]]]) -> None:
    """Writes `preprocessed_data.csv` in the form of the Kaggle file.

    Args:
      out: the data root.
      rows: path of the image, and its labels.
    """
    text = io.StringIO(newline='')
    writer = csv.writer(text, lineterminator='\r\n')
    writer.writerow(('', *LABELS))
    for path, labels in rows:
        writer.writerow((path, *(bool(labels.get(name, 0)) for name in LABELS)))
    write_atomically(out / PREPROCESSED, text.getvalue().encode())


def write_table(out: Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes the metadata table from rows in the order of TABLE_COLUMNS."""
    text = io.StringIO(newline='')
    writer = csv.writer(text, lineterminator='\n')
    # As in the release: names with a comma are not quoted.
    text.write(','.join(TABLE_COLUMNS) + '\n')
    writer.writerows(rows)
    write_atomically(out / TABLE, gzip.compress(text.getvalue().encode(), mtime=0))


def write_list(out: Path, name: str, image_ids: Iterable[str]) -> None:
    """Writes one of LISTS, one image id per line."""
    write_atomically(
        _list_path(out, name),
        gzip.compress(''.join(f'{image_id}\n' for image_id in image_ids).encode(), mtime=0),
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file in one step, so that no reader sees half of it; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.parent / f'.{path.name}.partial'
    stage.write_bytes(data)
    os.replace(stage, path)


def data_set_files(out: Path) -> list[Path]:
    """The files of an earlier data set of this layout in `out`."""
    lists = (_list_path(out, name) for name in LISTS)
    paths = (*(out / DATA_FOLDER).glob('*.tfrec'), out / PREPROCESSED, out / TABLE, *lists)
    return [path for path in paths if os.path.lexists(path)]


def remove(out: Path) -> None:
    """Removes the files of an earlier data set of this layout from `out`, and nothing else."""
    for path in data_set_files(out):
        path.unlink(missing_ok=True)


def _list_path(out: Path, name: str) -> Path:
    return out / Path(TABLE).parent / f'{name}.txt.gz'
