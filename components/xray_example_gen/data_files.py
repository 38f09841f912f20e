"""Which files a configuration's `data` part means: those beside the records are looked for under
their usual names.
"""

from __future__ import annotations

import storage
from components.xray_example_gen.parameters import DataParameters
from records import side_files
from records.data_root import DataRoot, scan


def locate(data: DataParameters, data_root: DataRoot | None = None) -> DataParameters:
    """`data` with the metadata table, the lists and the images to leave out as files that are
    there.

    Args:
      data: with `root` set.
      data_root: what lies under the root, if it has been listed.

    Raises:
      DataRootError: the root or a file is missing, or several files may be meant.
      OSError: a folder cannot be listed.
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
            'metadata': side_files.resolve(side_files.TABLE, data.metadata, data_root),
            'exclude': side_files.resolve(side_files.EXCLUDED, data.exclude, data_root),
            'split': split,
        }
    )


def named(data: DataParameters) -> tuple[str, ...]:
    """The files beside the records that ingestion reads, as a located configuration names them."""
    names = [data.metadata, data.exclude]
    if data.split.method == 'official':
        names += [data.split.train_val_list, data.split.test_list]
    return tuple(name for name in names if name)


def side_paths(root: str, data: DataParameters) -> tuple[str, ...]:
    """The full paths of these files: they are part of the data's fingerprint."""
    return tuple(storage.resolve(root, name) for name in named(data))
