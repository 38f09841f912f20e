"""Finds the files that come with a data set: its metadata table and the official split lists, under
their usual names.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass

import storage
from records.data_root import DataRoot, DataRootError

# In a configuration: look for the file.
AUTO = 'auto'
# A data root may have a folder for each of many spans.
_SHOWN = 6


@dataclass(frozen=True)
class Kind:
    """A kind of side file: what it is, the key that names it, and its usual names (the case of
    letters does not matter).
    """

    what: str
    key: str
    names: tuple[str, ...]


TABLE = Kind('metadata table', 'data.metadata', ('Data_Entry*.csv', 'Data_Entry*.csv.gz'))
TRAIN_VAL_LIST = Kind(
    'train_val list', 'data.split.train_val_list', ('train_val_list.txt', 'train_val_list.txt.gz')
)
TEST_LIST = Kind('test list', 'data.split.test_list', ('test_list.txt', 'test_list.txt.gz'))
# It has no usual name: it is there only if the configuration names it.
EXCLUDED = Kind('list of images to leave out', 'data.exclude', ())
LISTS = (TRAIN_VAL_LIST, TEST_LIST)


def find(
    kind: Kind, root: str, others: Iterable[str], beside: Iterable[str] = (), option: str = ''
) -> str | None:
    """The one file of `kind` in `metadata/`, in `root` itself, or beside the records.

    Args:
      kind: what to look for.
      root: the folder, for messages.
      others: names of the files in it, relative to it.
      beside: names of record files: their folders, and `metadata/` in them, are places to look too.
      option: what names a file instead, for messages; default: the kind's key.

    Raises:
      DataRootError: there are several.
    """
    places = _places(beside)
    there = [name for name in others if os.path.dirname(name) in places and _is(kind, name)]
    if len(there) > 1:
        named = ' and '.join(sorted(there))
        raise DataRootError(
            f'{root}: {named} may each be the {kind.what}. Keep one, or name it with '
            f'{option or kind.key}.'
        )
    return there[0] if there else None


def resolve(kind: Kind, configured: str | None, data_root: DataRoot) -> str | None:
    """The file that a configuration means: AUTO is looked for, a path is taken from `data_root`
    unless it is absolute.

    Raises:
      DataRootError: it is not there, or AUTO finds several.
    """
    if configured is None:
        return None
    beside = [file.name for file in data_root.files]
    if configured != AUTO or not kind.names:
        if storage.is_file(storage.resolve(data_root.path, configured)):
            return configured
        there = find(kind, data_root.path, data_root.others, beside)
        hint = f'. There is {there}: set {kind.key} to it, or to {AUTO}' if there else ''
        raise DataRootError(
            f'{kind.key} is {configured!r}: {storage.resolve(data_root.path, configured)}: no such file{hint}'
        )
    there = find(kind, data_root.path, data_root.others, beside)
    if there is None:
        places = ', '.join(
            f'{place}/' if place else 'the data root itself'
            for place in list(_places(beside))[:_SHOWN]
        )
        without = f' Set {kind.key} to null to run without one.' if kind is TABLE else ''
        raise DataRootError(
            f'{data_root.path}: no {kind.what} ({kind.key}). Looked for {", ".join(kind.names)} '
            f'in {places}. '
            f'Put it there, or name it with {kind.key}.{without}'
        )
    return there


def _is(kind: Kind, name: str) -> bool:
    base = os.path.basename(name).lower()
    return any(fnmatch.fnmatchcase(base, pattern.lower()) for pattern in kind.names)


def _places(beside: Iterable[str]) -> dict[str, None]:
    places = dict.fromkeys(('metadata', ''))
    for folder in dict.fromkeys(os.path.dirname(name) for name in beside):
        places |= dict.fromkeys((f'{folder}/metadata' if folder else 'metadata', folder))
    return places
