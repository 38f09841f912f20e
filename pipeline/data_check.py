"""Checks the data of a run before TensorFlow is imported and before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

import storage
from components.xray_example_gen import data_files
from components.xray_example_gen.parameters import DataParameters
from components.xray_example_gen.splits import OfficialLists
from pipeline.config import Config, ConfigError
from pipeline.evaluation_parameters import Threshold
from records import expert_labels, side_files
from records.data_root import DataRoot, DataRootError, scan
from records.metadata import COLUMNS, MetadataError, Table, read_list, read_tables
from records.terminal import error_text
from records.walking import format_counts
from schemas.features import AGE_BAND, SEX, VIEW
from trainer.tasks import TASKS, Task

# Column of the metadata table -> the feature that defines groups of images.
_GROUPS = {'age': AGE_BAND, 'sex': SEX, 'view_position': VIEW}


def check(config: Config) -> list[str]:
    """Checks that the data root exists, and that its metadata table and lists can be used.

    A data root on an object store is not checked here, because that needs TensorFlow; ingestion
    checks it.

    Args:
      config: the configuration, with `data.root` set.

    Returns:
      Notes for the user, each in one line: files that are not read, problems of the metadata table,
      and unknown values that a threshold needs.

    Raises:
      ConfigError: the data cannot be used.
    """
    root = config.data.root
    if root is None or storage.is_remote(root):
        return []
    try:
        data_root = scan(root, config.data.patterns)
        data_root.of_spans(config.data.spans)
        data = data_files.locate(config.data, data_root)
        tables = [storage.resolve(root, name) for name in data.tables]
        table = read_tables(tables) if tables else None
        _check_lists(root, data, table)
        experts = list(_expert_labels(root, data, TASKS[config.task]))
        return [
            *_not_read(data, data_root),
            *experts,
            *_table_problems(table),
            *_unknown_values(config.evaluation.thresholds, table),
        ]
    except (DataRootError, MetadataError) as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(error_text(error)) from None


def _check_lists(root: str, data: DataParameters, table: Table | None) -> None:
    if data.exclude:
        read_list(storage.resolve(root, data.exclude))
    if data.split.method == 'official':
        OfficialLists(
            read_list(storage.resolve(root, data.split.train_val_list)),
            read_list(storage.resolve(root, data.split.test_list)),
        ).check(table)


def _expert_labels(root: str, data: DataParameters, task: Task) -> Iterator[str]:
    """Reads the table of experts' labels, and says what it lacks."""
    if not data.expert_labels.file:
        return
    path = storage.resolve(root, data.expert_labels.file)
    experts = expert_labels.read(path, data.expert_labels.image, data.expert_labels.columns)
    if task.label not in experts.columns:
        yield (
            f'{path}: no column is named {task.label}, so the evaluation cannot judge the task by '
            "the experts' labels; name columns with data.expert_labels.columns"
        )


def _not_read(data: DataParameters, data_root: DataRoot) -> Iterator[str]:
    read = (*data_files.side_files_of(data), *filter(None, [data.expert_labels.file]))
    if ignored := data_root.ignored(read):
        yield f'{data_root.path}: not read: {format_counts(ignored)}'
    if data.metadata is None:
        table_file = side_files.find(
            side_files.TABLE,
            data_root.path,
            data_root.others,
            [file.name for file in data_root.files],
        )
        if table_file:
            yield (
                f'{data_root.path}: {table_file} is not read because data.metadata is null; set it '
                'to auto to use age, sex and view position'
            )


def _table_problems(table: Table | None) -> Iterator[str]:
    if table is not None:
        for problem in table.problems:
            yield f'{table.path}: {problem}'


def _unknown_values(thresholds: tuple[Threshold, ...], table: Table | None) -> Iterator[str]:
    if table is None:  # then the configuration has no threshold that needs it
        return
    for column, group in _GROUPS.items():
        needing = [
            f'{threshold.metric} on {threshold.name()}'
            for threshold in thresholds
            if _needs(threshold, group)
        ]
        if needing and table.unknown[column]:
            rows = f'{table.unknown[column]:,} of {len(table):,} rows'
            yield (
                f'{table.path}: {COLUMNS[column][0]} is unknown in {rows}; evaluation.thresholds '
                f'needs it: {", ".join(needing)}'
            )


def _needs(threshold: Threshold, group: str) -> bool:
    metric = threshold.registered
    return group in threshold.slice or (metric.needs_metadata and metric.group in (None, group))
