"""Finds the side files that the `data` part of a configuration names."""

from __future__ import annotations

import storage
from components.xray_example_gen.parameters import DataParameters
from records import side_files
from records.data_root import DataRoot, scan


def locate(data: DataParameters, data_root: DataRoot | None = None) -> DataParameters:
    """Replaces `auto` in `data` by the paths of the side files, and checks that all of them exist.

    Args:
      data: with `root` set.
      data_root: the content of the root; None lists it.

    Raises:
      DataRootError: the root or a file is missing, or `auto` finds several files.
      OSError: a folder cannot be listed.
      ValueError: `root` is not set.
    """
    if data.root is None:
        raise ValueError('data.root is not set: give it with --data-root or in the configuration')
    data_root = data_root or scan(data.root, data.patterns)
    split = data.split
    if split.method == 'official':
        split = split.model_copy(
            update={
                'train_val_list': side_files.resolve(
                    side_files.TRAIN_VAL_LIST, split.train_val_list, data_root
                ),
                'test_list': side_files.resolve(side_files.TEST_LIST, split.test_list, data_root),
            }
        )
    return data.model_copy(
        update={
            'metadata': list(side_files.tables(data.tables, data_root)) or None,
            'exclude': side_files.resolve(side_files.EXCLUDED, data.exclude, data_root),
            'split': split,
        }
    )


def side_files_of(data: DataParameters) -> tuple[str, ...]:
    """The side files that ingestion reads, as named in `data`, which comes from `locate`."""
    names: list[str | None] = [*data.tables, data.exclude]
    if data.split.method == 'official':
        names += [data.split.train_val_list, data.split.test_list]
    return tuple(name for name in names if name)


def side_paths(root: str, data: DataParameters) -> tuple[str, ...]:
    """The full paths of the side files, which are part of the data's fingerprint."""
    return tuple(storage.resolve(root, name) for name in side_files_of(data))
