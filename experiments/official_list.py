"""The official test list of the NIH in a data root."""

from __future__ import annotations

from pathlib import Path

from records import side_files
from records.data_root import scan
from records.metadata import read_list
from records.spelling import ImageNames


def test_list(root: Path) -> ImageNames:
    """The official test list of a data root.

    Raises:
      DataRootError, MetadataError: the list is missing or not valid.
    """
    path = side_files.resolve(side_files.TEST_LIST, side_files.AUTO, scan(str(root)))
    return read_list(str(root / (path or '')))
