"""The data check at the start of a run: data root, side files, and columns that gates need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import config as config_lib
from pipeline import data_check
from pipeline.config import ConfigError
from records.layout import TABLE_COLUMNS

HEADER = ','.join(TABLE_COLUMNS)
ROW = '00000013_005.png,Mass,5,13,60,M,AP,3056,2544,0.139,0.139'
GAP = (
    '[{metric: auc, min: 0.7}, {metric: sensitivity_gap_sex, max: 0.2}, {metric: auc, min: 0.7, '
    'slice: {view_position: PA}}]'
)


def _root(folder: Path, *rows: str, table: str = 'metadata/Data_Entry_2017_v2020.csv') -> Path:
    """Writes a data root with an empty record file and a table with `rows`."""
    for name, text in (('data/000-0.tfrec', ''), (table, '\n'.join((HEADER, *(rows or (ROW,)))))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _check(root: Path, *settings: str, config: str = 'nih_triage') -> list[str]:
    loaded = config_lib.load(f'pipeline/configs/{config}.yaml', settings)
    return data_check.check(
        loaded.model_copy(update={'data': loaded.data.model_copy(update={'root': str(root)})})
    )


@pytest.mark.parametrize(
    'config', sorted(path.stem for path in Path('pipeline/configs').glob('*.yaml'))
)
@pytest.mark.parametrize(
    'table',
    [
        'metadata/Data_Entry_2017_v2020.csv',
        'metadata/Data_Entry_2017_v2020.csv.gz',
        'Data_Entry_2017.csv',
    ],
)
def test_every_configuration_finds_the_downloaded_table(
    config: str, table: str, tmp_path: Path
) -> None:
    root = _root(tmp_path, table=table)
    (root / 'train_val_list.txt').write_text('00000013_005.png\n')
    (root / 'test_list.txt').write_text('00000014_000.png\n')
    assert _check(root, config=config) == []


@pytest.mark.parametrize(
    ('change', 'settings', 'message'),
    [
        pytest.param(
            lambda root: (root / 'metadata/Data_Entry_2017_v2020.csv').unlink(),
            [],
            r'no metadata table \(data\.metadata\)',
            id='table',
        ),
        pytest.param(
            lambda root: (root / 'metadata/Data_Entry_2017_v2020.csv').write_text('a,b\n'),
            [],
            r"column 'Image Index' is missing",
            id='columns',
        ),
        pytest.param(
            None,
            ['data.split.method=official'],
            r'no train_val list \(data\.split\.train_val_list\)',
            id='lists',
        ),
        pytest.param(
            None,
            ['data.exclude=bad.txt'],
            r"data\.exclude is 'bad\.txt': .*no such file",
            id='exclude',
        ),
        pytest.param(None, ['data.spans=[3]'], r'no files for span \[3\]', id='span'),
        pytest.param(
            None,
            ['data.patterns=["*.rec"]'],
            r'no file matches \*\.rec; the folder has 1 \.csv, 1 \.tfrec',
            id='patterns',
        ),
    ],
)
def test_unusable_data_are_reported(
    change: Callable[[Path], object] | None, settings: list[str], message: str, tmp_path: Path
) -> None:
    root = _root(tmp_path)
    if change:
        change(root)
    with pytest.raises(ConfigError, match=message):
        _check(root, *settings)


def test_contradictory_split_lists_are_reported(tmp_path: Path) -> None:
    root = _root(tmp_path)
    for name in ('train_val', 'test'):
        (root / f'{name}_list.txt').write_text('00000013_005.png\n')
    with pytest.raises(
        ConfigError,
        match=r'1 patients are in both the train_val list and the test list, e\.g\. 00000013',
    ):
        _check(root, 'data.split.method=official')


def test_notes_about_the_data(tmp_path: Path) -> None:
    root = _root(tmp_path, ROW, ROW.replace('005', '006').replace(',M,AP', ',O,'))
    (root / 'image.dcm').write_text('')
    table = root / 'metadata/Data_Entry_2017_v2020.csv'
    sex = f"{table}: Patient Sex: neither F nor M: unknown (1 row in line 3: 'O')"
    assert _check(root, 'evaluation.thresholds=[{metric: auc, min: 0.7}]') == [
        f'{root}: not read: 1 .dcm',
        sex,
    ]
    note = f'{table}: {{}} is unknown in 1 of 2 rows; evaluation.thresholds needs it: {{}}'
    assert _check(root, f'evaluation.thresholds={GAP}')[2:] == [
        note.format('Patient Sex', 'sensitivity_gap_sex on all'),
        note.format('View Position', 'auc on view_position=PA'),
    ]
    assert _check(root, 'data.metadata=null', 'evaluation.thresholds=[{metric: auc, min: 0.7}]')[
        1:
    ] == [
        f'{root}: metadata/Data_Entry_2017_v2020.csv is not read because data.metadata is null; '
        'set it to auto to use age, sex and view position',
    ]


def test_a_bucket_is_not_checked() -> None:
    loaded = config_lib.load('pipeline/configs/demo.yaml', data__root='gs://bucket/images')
    assert data_check.check(loaded) == []


def test_the_table_of_experts_is_read_before_the_run(tmp_path: Path) -> None:
    root = _root(tmp_path)
    setting = 'data.expert_labels.file=experts.csv'
    with pytest.raises(ConfigError, match=r'experts.csv: no such file'):
        _check(root, setting)
    (root / 'experts.csv').write_text('Image ID,Abnormal\n00000013_005.png,YES\n')
    assert _check(root, setting) == []
    (root / 'experts.csv').write_text('Image ID,Mass\n00000013_005.png,YES\n')
    (note,) = _check(root, setting)
    assert 'no column is named abnormal' in note and 'data.expert_labels.columns' in note
    (root / 'experts.csv').write_text('Image ID,Mass\n00000013_005.png,maybe\n')
    with pytest.raises(ConfigError, match=r"experts.csv, line 2: column 'Mass' is 'maybe'"):
        _check(root, setting)


_COMMANDS = """
import sys
from cli import main as cli
root, missing = sys.argv[1:]
options = ['--config', 'pipeline/configs/demo.yaml', '--data-root', missing]
cluster = ['--image', 'x', '--root', 'gs://b/r', '--push-dir', 'gs://b/p', '--set',
    f'kubeflow.volumes=[{claim: c, mount: {root}}]']
with open(root + '/spec.yaml', 'w') as file:
    file.write('{schemaVersion: 2.1.0, root: {}}')
assert cli.main(['run', '--root', root + '/runs', *options]) == 1
assert cli.main(['compile', '--out', root + '/x.yaml', *options, *cluster]) == 1
assert cli.main(['submit', root + '/spec.yaml', *options, *cluster]) == 1
assert 'tensorflow' not in sys.modules and 'tfx' not in sys.modules
"""


def test_a_wrong_data_root_is_reported_before_tensorflow_is_imported(
    tmp_path: Path,
) -> None:
    code = _COMMANDS.replace('{claim: c, mount: {root}}', '{{claim: c, mount: {root}}}')
    missing = tmp_path / 'missing'
    result = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path), str(missing)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if str(missing) in line]
    assert [line.split(':')[0] for line in lines] == [
        'cxr-triage run',
        'cxr-triage compile',
        'cxr-triage submit',
    ]
    assert all(
        'not a directory. Give the folder that holds the *.tfrec files with --data-root' in line
        for line in lines
    )
    assert result.stderr.count('name their state with --fingerprint') == 2
    assert [path.name for path in tmp_path.iterdir()] == ['spec.yaml']
