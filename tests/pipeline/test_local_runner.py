"""Runs a small pipeline on stale, damaged and moved files, and on damaged metadata stores."""

import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.dsl.component.experimental import annotations, decorators
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from pages import store
from pipeline import local_runner
from pipeline.artifact_files import DamagedArtifactError
from pipeline.metadata_file import StoreError
from pipeline.run_root import RunRoot
from records import tfrecord

RECORDS = 'Split-train/data_tfrecord-00000-of-00001'


@decorators.component
def Write(  # noqa: N802 - a component is a class to its users
    examples: annotations.OutputArtifact[standard_artifacts.Examples],
    schema: annotations.OutputArtifact[standard_artifacts.Schema],
    content: annotations.Parameter[str],
) -> None:
    """Writes `content` to a record file, one character per record, and to a text file."""
    path = Path(examples.uri, RECORDS)
    path.parent.mkdir()
    path.write_bytes(b''.join(tfrecord.frame(character.encode()) for character in content))
    Path(schema.uri, 'schema.pbtxt').write_text(content)


@decorators.component
def Read(  # noqa: N802
    examples: annotations.InputArtifact[standard_artifacts.Examples],
    schema: annotations.InputArtifact[standard_artifacts.Schema],
    statistics: annotations.OutputArtifact[standard_artifacts.ExampleStatistics],
) -> None:
    """Joins all records in the folder, as TFX's components do; fails at a damaged record."""
    content = ''
    for path in sorted(Path(examples.uri).rglob('data_tfrecord*')):
        for item in tfrecord.read(str(path)):
            if isinstance(item, tfrecord.Damage):
                raise ValueError(f'corrupted record at {item.offset}')
            content += item.payload.decode()
    Path(statistics.uri, 'joined').write_text(
        f'{content} {Path(schema.uri, "schema.pbtxt").read_text()}'
    )


class Silent:
    """A display that shows nothing."""

    def begin(self, name: str, number: int, total: int) -> None: ...

    def end(self, step: local_runner.Step) -> None: ...

    def fail(self, name: str, seconds: float) -> None: ...


class Root:
    """A run root of the small pipeline."""

    def __init__(self, path: Path):
        self.path = path
        self.runs = 0

    @property
    def store(self) -> Path:
        return RunRoot(self.path).store

    def run(
        self, content: str, check: Callable[[dict], None] = lambda steps: None
    ) -> dict[str, local_runner.Step]:
        self.runs += 1
        write = Write(content=content)
        read = Read(examples=write.outputs['examples'], schema=write.outputs['schema'])
        pipeline = Pipeline(
            'small',
            str(RunRoot(self.path).artifacts),
            components=[write, read],
            enable_cache=True,
            metadata_connection_config=local_runner.metadata_config(str(self.path)),
        )
        return {
            step.name: step
            for step in local_runner.run(pipeline, Silent(), f'{self.path.name}-{self.runs}', check)
        }

    def joined(self, steps: dict[str, local_runner.Step]) -> str:
        """Returns the output of Read."""
        return (folder(steps, 'Read', 'statistics') / 'joined').read_text()


def folder(steps: dict[str, local_runner.Step], step: str, key: str) -> Path:
    """Returns the folder of an output."""
    (artifact,) = steps[step].outputs[key]
    return Path(artifact.uri)


def states(steps: dict[str, local_runner.Step]) -> list[str]:
    """Returns the states of both steps."""
    return [steps[name].state for name in ('Write', 'Read')]


def log_messages(caplog) -> list[str]:
    """Returns the messages of the runner, without those of libraries."""
    return [record.getMessage() for record in caplog.records if record.name.startswith('pipeline.')]


@pytest.fixture(autouse=True)
def _warnings_are_logged(monkeypatch) -> None:
    """Enables warnings, which a command of an earlier test in this process may have disabled."""
    monkeypatch.setattr(logging.root.manager, 'disable', logging.NOTSET)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / 'root')


def flip(path: Path, offset: int) -> None:
    """Inverts a byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def test_an_unchanged_run_is_cached(root: Root) -> None:
    assert states(root.run('abc')) == ['ran', 'ran']
    steps = root.run('abc')
    assert states(steps) == ['cached', 'cached']
    assert root.joined(steps) == 'abc abc'


def test_without_the_old_store_each_step_writes_into_a_new_folder(root: Root, caplog) -> None:
    old = folder(root.run('abc'), 'Write', 'examples')
    # The new run has fewer records, so it would not overwrite this file.
    (old / 'Split-train' / 'data_tfrecord-00001-of-00002').write_bytes(tfrecord.frame(b'X'))
    root.store.unlink()
    steps = root.run('de')
    assert root.joined(steps) == 'de de'
    new = folder(steps, 'Write', 'examples')
    assert int(new.name) > int(old.name)
    assert (old / RECORDS).exists()
    (warning,) = log_messages(caplog)
    assert 'artifacts that are not in the metadata store' in warning
    # The next run continues the numbers of folders, without a warning.
    caplog.clear()
    assert root.joined(root.run('fg')) == 'fg fg'
    assert log_messages(caplog) == []


def test_a_restored_store_overwrites_no_artifacts(root: Root) -> None:
    root.run('abc')
    root.run('de')
    third = folder(root.run('fg'), 'Write', 'examples')
    (copy,) = sorted((root.path / 'metadata-backups').iterdir())[-1:]
    shutil.copy(copy, root.store)
    steps = root.run('hi')
    assert root.joined(steps) == 'hi hi'
    assert int(folder(steps, 'Write', 'examples').name) > int(third.name)


def test_the_last_three_copies_of_the_store_are_kept(root: Root) -> None:
    for content in 'abcde':
        root.run(content)
    copies = sorted((root.path / 'metadata-backups').iterdir())
    assert len(copies) == 3
    with sqlite3.connect(copies[-1]) as database:
        # The copy is from before the fifth run: four runs with two steps.
        assert database.execute('SELECT count(*) FROM Execution').fetchone() == (8,)


def _damage_records(examples: Path, schema: Path) -> Path:
    flip(examples / RECORDS, 12)
    return examples / RECORDS


def _add_records(examples: Path, schema: Path) -> Path:
    path = examples / 'Split-train' / 'data_tfrecord-00001-of-00002'
    path.write_bytes(tfrecord.frame(b'X'))
    return path


def _cut_records(examples: Path, schema: Path) -> Path:
    (examples / RECORDS).write_bytes(b'')
    return examples / RECORDS


def _change_text(examples: Path, schema: Path) -> Path:
    (schema / 'schema.pbtxt').write_text('abd')
    return schema / 'schema.pbtxt'


def _delete_text(examples: Path, schema: Path) -> Path:
    (schema / 'schema.pbtxt').unlink()
    return schema / 'schema.pbtxt'


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        pytest.param(_damage_records, 'record 0 .byte 0.: ', id='byte of a record'),
        pytest.param(_add_records, 'the step did not write this file', id='another file'),
        pytest.param(_cut_records, 'it has 0 bytes, and the step wrote 51 bytes', id='cut'),
        pytest.param(_change_text, 'its content changed', id='byte of a text'),
        pytest.param(_delete_text, 'the file is missing', id='file lost'),
    ],
)
def test_a_damaged_artifact_is_reported_with_a_working_remedy(
    root: Root, damage: Callable, message: str
) -> None:
    steps = root.run('abc')
    shutil.rmtree(folder(steps, 'Read', 'statistics'))
    examples, schema = folder(steps, 'Write', 'examples'), folder(steps, 'Write', 'schema')
    path = damage(examples, schema)
    with pytest.raises(local_runner.StepError, match='Read') as caught:
        root.run('abc')
    cause = caught.value.__cause__
    assert isinstance(cause, DamagedArtifactError)
    artifact = examples if path.is_relative_to(examples) else schema
    with pytest.raises(
        DamagedArtifactError,
        match=f'{path}: .*{message}.* Delete the folder {artifact} .* Write creates it again',
    ):
        raise cause
    shutil.rmtree(artifact)
    steps = root.run('abc')
    assert states(steps) == ['ran', 'ran']
    assert root.joined(steps) == 'abc abc'


def test_a_copied_root_uses_its_own_artifacts(root: Root, tmp_path: Path, caplog) -> None:
    original = root.run('abc')
    copy = Root(tmp_path / 'copy')
    shutil.copytree(root.path, copy.path)
    # A run that still reads the original would return this content.
    (folder(original, 'Read', 'statistics') / 'joined').write_text('of the original')
    (folder(original, 'Write', 'schema') / 'schema.pbtxt').write_text('of the original')
    steps = copy.run('abc')
    assert copy.joined(steps) == 'abc abc'
    for step in steps.values():
        for artifacts in step.outputs.values():
            assert all(Path(artifact.uri).is_relative_to(copy.path) for artifact in artifacts)
    assert states(steps)[0] == 'cached'
    (warning,) = log_messages(caplog)
    assert f'copied or moved from {root.path}/artifacts' in warning
    caplog.clear()
    assert states(copy.run('abc')) == ['cached', 'cached']
    assert log_messages(caplog) == []


def test_a_linked_root_is_not_a_copy(root: Root, tmp_path: Path, caplog) -> None:
    root.run('abc')
    (tmp_path / 'link').symlink_to(root.path)
    assert states(Root(tmp_path / 'link').run('abc')) == ['cached', 'cached']
    assert log_messages(caplog) == []


def test_a_failed_check_of_the_caller_ends_the_run(root: Root) -> None:
    def check(steps: dict[str, local_runner.Step]) -> None:
        if 'Read' in steps:
            raise ValueError('one record too many')

    with pytest.raises(local_runner.StepError, match='Read') as caught:
        root.run('abc', check)
    assert str(caught.value.__cause__) == 'one record too many'


def _delete(statement: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with sqlite3.connect(path) as database:
            database.execute(statement)

    return damage


@pytest.mark.parametrize(
    'damage',
    [
        pytest.param(lambda path: path.write_bytes(b'not a database' * 100), id='another file'),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:20000]), id='cut'),
        pytest.param(lambda path: flip(path, 100), id='first page'),
        pytest.param(
            lambda path: flip(path, path.read_bytes().index(b'/artifacts/Write/examples') + 3),
            id='byte of a path',
        ),
        *(
            pytest.param(
                _delete(f'DELETE FROM {table} WHERE rowid = (SELECT {which}(rowid) FROM {table})'),
                id=f'{which} row of {table}',
            )
            for table in ('Type', 'Artifact', 'Context', 'Event', 'Association', 'Attribution')
            for which in ('min', 'max')
        ),
        pytest.param(_delete('DELETE FROM Execution WHERE id = 1'), id='an execution'),
        pytest.param(_delete('DROP TABLE Event'), id='a table'),
    ],
)
def test_a_damaged_store_is_reported_with_a_working_remedy(
    two_runs: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = Root(tmp_path / 'root')
    shutil.copytree(two_runs, root.path)
    damage(root.store)
    with pytest.raises(StoreError) as caught:
        root.run('abc')
    text = str(caught.value)
    assert text.startswith(f'{root.store}: the metadata store is damaged (')
    assert 'or start a new root with --root' in text
    assert '\n' not in text
    with pytest.raises(StoreError, match='the metadata store is damaged'):
        store.read(root.path)
    copy = sorted(RunRoot(root.path).backups.iterdir())[-1]
    assert f'cp {copy} {root.store}' in text
    shutil.copy(copy, root.store)
    assert root.joined(root.run('de')) == 'de de'


@pytest.fixture(scope='module')
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run root with two runs."""
    root = Root(tmp_path_factory.mktemp('two_runs') / 'root')
    root.run('abc')
    root.run('de')
    return root.path
