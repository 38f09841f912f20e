"""The runner over a small real pipeline: stale, damaged and moved files of a root, and a damaged
metadata store.
"""

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
    """Writes `content` as records, one a character, and as a text file."""
    path = Path(examples.uri, RECORDS)
    path.parent.mkdir()
    path.write_bytes(b''.join(tfrecord.frame(letter.encode()) for letter in content))
    Path(schema.uri, 'schema.pbtxt').write_text(content)


@decorators.component
def Read(  # noqa: N802
    examples: annotations.InputArtifact[standard_artifacts.Examples],
    schema: annotations.InputArtifact[standard_artifacts.Schema],
    statistics: annotations.OutputArtifact[standard_artifacts.ExampleStatistics],
) -> None:
    """Joins all records that it finds in the folder, as TFX's components do, and fails at a damaged
    one, like TensorFlow.
    """
    found = ''
    for path in sorted(Path(examples.uri).rglob('data_tfrecord*')):
        for item in tfrecord.read(str(path)):
            if isinstance(item, tfrecord.Damage):
                raise ValueError(f'corrupted record at {item.offset}')
            found += item.payload.decode()
    Path(statistics.uri, 'joined').write_text(
        f'{found} {Path(schema.uri, "schema.pbtxt").read_text()}'
    )


class Silent:
    """A display that shows nothing."""

    def begin(self, name: str, number: int, total: int) -> None: ...

    def end(self, step: local_runner.Step) -> None: ...

    def fail(self, name: str, seconds: float) -> None: ...


class Root:
    """A root of runs of the small pipeline."""

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
        """What the second step found."""
        return (folder(steps, 'Read', 'statistics') / 'joined').read_text()


def folder(steps: dict[str, local_runner.Step], step: str, key: str) -> Path:
    """Where an output is."""
    (artifact,) = steps[step].outputs[key]
    return Path(artifact.uri)


def states(steps: dict[str, local_runner.Step]) -> list[str]:
    """Of both steps."""
    return [steps[name].state for name in ('Write', 'Read')]


def said(caplog) -> list[str]:
    """What this project said, without the libraries."""
    return [record.getMessage() for record in caplog.records if record.name.startswith('pipeline.')]


@pytest.fixture(autouse=True)
def _heard(monkeypatch) -> None:
    """Undoes what a command that another test called in this process did: it keeps warnings off the
    screen.
    """
    monkeypatch.setattr(logging.root.manager, 'disable', logging.NOTSET)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / 'root')


def flip(path: Path, place: int) -> None:
    """Flips a byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def test_an_unchanged_run_is_cached(root: Root) -> None:
    assert states(root.run('abc')) == ['ran', 'ran']
    again = root.run('abc')
    assert states(again) == ['cached', 'cached']
    assert root.joined(again) == 'abc abc'


def test_after_the_store_was_deleted_each_step_writes_into_an_empty_place(
    root: Root, caplog
) -> None:
    old = folder(root.run('abc'), 'Write', 'examples')
    # A longer run leaves files that a shorter one does not write over.
    (old / 'Split-train' / 'data_tfrecord-00001-of-00002').write_bytes(tfrecord.frame(b'X'))
    root.store.unlink()
    steps = root.run('de')
    assert root.joined(steps) == 'de de'
    new = folder(steps, 'Write', 'examples')
    assert int(new.name) > int(old.name)
    assert (old / RECORDS).exists()
    (warning,) = said(caplog)
    assert 'artifacts that are not in the metadata store' in warning
    # The numbers go on from there, and are not warned of again.
    caplog.clear()
    assert root.joined(root.run('fg')) == 'fg fg'
    assert said(caplog) == []


def test_a_store_put_back_from_its_copy_writes_over_nothing(root: Root) -> None:
    root.run('abc')
    root.run('de')
    third = folder(root.run('fg'), 'Write', 'examples')
    (copy,) = sorted((root.path / 'metadata-backups').iterdir())[-1:]
    shutil.copy(copy, root.store)
    steps = root.run('hi')
    assert root.joined(steps) == 'hi hi'
    assert int(folder(steps, 'Write', 'examples').name) > int(third.name)


def test_the_store_is_copied_before_each_run_and_the_last_three_copies_stay(root: Root) -> None:
    for content in 'abcde':
        root.run(content)
    copies = sorted((root.path / 'metadata-backups').iterdir())
    assert len(copies) == 3
    with sqlite3.connect(copies[-1]) as database:
        # Of the four runs before the last one.
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


def _lose_text(examples: Path, schema: Path) -> Path:
    (schema / 'schema.pbtxt').unlink()
    return schema / 'schema.pbtxt'


@pytest.mark.parametrize(
    ('damage', 'told'),
    [
        pytest.param(_damage_records, 'record 0 .byte 0.: ', id='byte of a record'),
        pytest.param(_add_records, 'the step did not write this file', id='another file'),
        pytest.param(_cut_records, 'it has 0 bytes, and the step wrote 51 bytes', id='cut'),
        pytest.param(_change_text, 'its content changed', id='byte of a text'),
        pytest.param(_lose_text, 'the file is missing', id='file lost'),
    ],
)
def test_a_damaged_artifact_is_named_with_a_cure_that_works(
    root: Root, damage: Callable, told: str
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
        match=f'{path}: .*{told}.* Delete the folder {artifact} .* Write creates it again',
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
    # Whoever goes on to read the original's files finds this.
    (folder(original, 'Read', 'statistics') / 'joined').write_text('of the original')
    (folder(original, 'Write', 'schema') / 'schema.pbtxt').write_text('of the original')
    steps = copy.run('abc')
    assert copy.joined(steps) == 'abc abc'
    for step in steps.values():
        for artifacts in step.outputs.values():
            assert all(Path(artifact.uri).is_relative_to(copy.path) for artifact in artifacts)
    assert states(steps)[0] == 'cached'
    (warning,) = said(caplog)
    assert f'copied or moved from {root.path}/artifacts' in warning
    caplog.clear()
    assert states(copy.run('abc')) == ['cached', 'cached']
    assert said(caplog) == []


def test_a_root_that_is_reached_through_a_link_is_no_copy(
    root: Root, tmp_path: Path, caplog
) -> None:
    root.run('abc')
    (tmp_path / 'link').symlink_to(root.path)
    assert states(Root(tmp_path / 'link').run('abc')) == ['cached', 'cached']
    assert said(caplog) == []


def test_a_check_of_the_caller_ends_the_run(root: Root) -> None:
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
        pytest.param(lambda path: path.write_bytes(b'no database at all' * 100), id='another file'),
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
def test_a_damaged_store_is_named_with_a_cure_that_works(
    kept: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = Root(tmp_path / 'root')
    shutil.copytree(kept, root.path)
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
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two runs."""
    root = Root(tmp_path_factory.mktemp('kept') / 'root')
    root.run('abc')
    root.run('de')
    return root.path
