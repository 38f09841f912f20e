"""A code digest changes with exactly those edits that affect its component."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import code_digest

PROJECT = Path(code_digest.__file__).parents[1]
MODULES = (
    'trainer.run',
    'trainer.preprocessing',
    'components.xray_example_gen.executor',
    'components.data_audit.executor',
)
_DIGESTS = (
    'import json, sys; from pipeline.code_digest import digest; print(json.dumps({m: digest(m) '
    'for m in sys.argv[1:]}))'
)


def _digests(project: Path, *modules: str) -> dict[str, str]:
    """Computes the digests in a new process, which has not cached any file."""
    env = {**os.environ, 'PYTHONPATH': str(project), 'PYTHONDONTWRITEBYTECODE': '1'}
    result = subprocess.run(
        [sys.executable, '-c', _DIGESTS, *modules],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


@pytest.fixture(scope='module')
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('project')
    for package in (*code_digest.PACKAGES, 'cli'):
        shutil.copytree(
            PROJECT / package, folder / package, ignore=shutil.ignore_patterns('__pycache__')
        )
    return folder


@pytest.fixture(scope='module')
def before(project: Path) -> dict[str, str]:
    return _digests(project, *MODULES)


def test_the_digest_does_not_depend_on_the_project_path(before: dict[str, str]) -> None:
    assert before == {module: code_digest.digest(module) for module in MODULES}


_RUN, _TRANSFORM, _INGEST, _AUDIT = MODULES


@pytest.mark.parametrize(
    ('file', 'old', 'new', 'changed'),
    [
        pytest.param('trainer/model.py', "HEAD = 'logit'", "HEAD = 'answer'", {_RUN}, id='model'),
        pytest.param(
            'trainer/preprocessing.py',
            'antialias=True',
            'antialias=False',
            {_RUN, _TRANSFORM},
            id='preprocessing',
        ),
        pytest.param('records/tfrecord.py', '1 << 22', '1 << 23', {_INGEST, _AUDIT}, id='reader'),
        pytest.param(
            'schemas/features.py', "SEX = 'sex'", "SEX = 'gender'", set(MODULES), id='feature names'
        ),
        pytest.param(
            'trainer/__init__.py', '"""', '"""New. ', set(MODULES), id='docstring of a package'
        ),
        pytest.param(
            'components/data_audit/audit.html', '<', ' <', {_AUDIT}, id='data of a package'
        ),
        pytest.param('trainer/model.py', 'HEAD =', '# A comment.\n\n\nHEAD =', set(), id='comment'),
        pytest.param('trainer/model.py', "HEAD = 'logit'", 'HEAD = "logit"', set(), id='quotes'),
        pytest.param(
            'trainer/tasks.py',
            "        Task('findings14',",
            "        Task('mass', 'Mass', 'mass', 'no mass'),\n        Task('findings14',",
            {_RUN},
            id='new task',
        ),
        pytest.param('cli/main.py', 'cxr-triage', 'cxr', set(), id='command line'),
        pytest.param('components/pusher/push.py', '"""', '"""New. ', set(), id='another component'),
    ],
)
def test_an_edit_changes_the_digests_of_affected_components(
    file: str, old: str, new: str, changed: set[str], project: Path, before: dict[str, str]
) -> None:
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        after = _digests(project, *MODULES)
    finally:
        path.write_text(text)
    assert {module for module in MODULES if after[module] != before[module]} == changed


def test_a_new_file_counts_only_if_it_is_data(project: Path, before: dict[str, str]) -> None:
    for names, changed in ((('unused.py', '.hidden'), set()), (('table.csv',), set(MODULES))):
        paths = [project / 'trainer' / name for name in names]
        for path in paths:
            path.write_text('x = 1\n')
        after = _digests(project, *MODULES)
        for path in paths:
            path.unlink()
        assert {module for module in MODULES if after[module] != before[module]} == changed, names


def test_a_module_imported_from_its_package_is_covered() -> None:
    assert 'trainer.model' in code_digest.closure('trainer.run')
    assert {'trainer', 'trainer.augmentation', 'trainer.parameters'} <= set(
        code_digest.closure('trainer.input_pipeline')
    )


def test_a_module_that_is_run_by_name_is_covered() -> None:
    assert 'components.serving_check.session_probe' in code_digest.closure(
        'components.serving_check.executor'
    )


def test_the_serving_check_does_not_depend_on_synth() -> None:
    assert not [
        module
        for module in code_digest.closure('components.serving_check.executor')
        if module.startswith('records.synth')
    ]


def test_only_imported_modules_are_covered() -> None:
    closure = code_digest.closure('trainer.preprocessing')
    assert closure == [
        'schemas',
        'schemas.features',
        'schemas.labels',
        'trainer',
        'trainer.preprocessing',
    ]
    assert not any(
        name.startswith(('pipeline', 'tests'))
        for module in MODULES
        for name in code_digest.closure(module)
    )


@pytest.mark.parametrize('module', ['trainer.nothing', 'nothing'])
def test_a_missing_module_is_named(module: str) -> None:
    with pytest.raises(ImportError, match=f'no module {module}'):
        code_digest.digest(module)
