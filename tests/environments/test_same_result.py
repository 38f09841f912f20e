"""Both locked environments give the same results, and each runs the model of the other.

CXR_OTHER_ENVIRONMENT is the command that starts the Python of the other environment in this folder,
for example `tests/support/debian13 .venv/bin/python`. Both have to see the same temporary folder.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment_runs import Direct, start

pytestmark = pytest.mark.slow

_VARIABLE = 'CXR_OTHER_ENVIRONMENT'
OURS, THEIRS = 'ours', 'theirs'


@pytest.fixture(scope='module')
def other() -> list[str]:
    """The command that starts the Python of the other environment."""
    command = os.environ.get(_VARIABLE)
    if not command:
        pytest.skip(
            f'{_VARIABLE} does not name a second environment, for example '
            '"tests/support/debian13 .venv/bin/python"'
        )
    return shlex.split(command)


@pytest.fixture(scope='module')
def folders(
    other: list[str], direct: Direct, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder for the outputs of each environment."""
    return {OURS: direct.folder, THEIRS: tmp_path_factory.mktemp(THEIRS)}


@pytest.fixture(scope='module')
def facts(
    other: list[str], direct: Direct, data_root: Path, folders: dict[str, Path]
) -> dict[str, dict[str, Any]]:
    """The facts of the run in each environment."""
    theirs = start('make', data_root, folders[THEIRS], python=other)
    return {OURS: direct.run_facts, THEIRS: theirs.facts()}


@pytest.fixture(scope='module', params=[OURS, THEIRS])
def evaluations(
    request: pytest.FixtureRequest,
    other: list[str],
    direct: Direct,
    facts: dict,
    folders: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """How each environment evaluates the graph and the model of one of them."""
    folder = folders[request.param]
    ours = (
        direct.evaluation_facts
        if request.param == OURS
        else start('judge', folder, tmp_path_factory.mktemp('by-ours')).facts()
    )
    return {
        OURS: ours,
        THEIRS: start('judge', folder, tmp_path_factory.mktemp('by-theirs'), python=other).facts(),
    }


def test_the_environments_have_different_versions(facts: dict) -> None:
    for package in ('tfx', 'tensorflow'):
        assert facts[OURS]['versions'][package] != facts[THEIRS]['versions'][package]


def test_records_and_splits_are_equal(facts: dict) -> None:
    assert all(facts[OURS]['records'].values())
    assert facts[OURS]['records'] == facts[THEIRS]['records']


def test_statistics_are_equal(facts: dict) -> None:
    assert all(
        split['datasets'][0]['numExamples'] != '0' for split in facts[OURS]['statistics'].values()
    )
    assert facts[OURS]['statistics'] == facts[THEIRS]['statistics']


def test_transformed_images_are_equal(facts: dict) -> None:
    assert {split: set(images) for split, images in facts[OURS]['pixels'].items()} == {
        split: set(images)
        for split, images in facts[OURS]['records'].items()
        if split in facts[OURS]['pixels']
    }
    assert facts[OURS]['pixels'] == facts[THEIRS]['pixels']


def test_a_transform_graph_gives_equal_images(evaluations: dict) -> None:
    assert evaluations[OURS]['pixels']
    assert evaluations[OURS]['pixels'] == evaluations[THEIRS]['pixels']


def test_a_model_gives_equal_scores(evaluations: dict) -> None:
    assert set(evaluations[OURS]['scores']) == {'serving_default', 'serve_image'}
    for signature, scores in evaluations[OURS]['scores'].items():
        other = evaluations[THEIRS]['scores'][signature]
        assert len(set(scores['probability'])) > len(scores['probability']) / 2, (
            'the model gives many images the same score, so this comparison says little'
        )
        assert other['probability'] == pytest.approx(scores['probability'], abs=1e-5)
        assert other['flag'] == scores['flag']


def test_metrics_of_a_model_are_equal(evaluations: dict) -> None:
    assert len(evaluations[OURS]['metrics']) > 20
    assert evaluations[OURS]['blessed'] == evaluations[THEIRS]['blessed']
    # Scores differ in the seventh digit, and so do means. The order of the images is the same.
    assert evaluations[THEIRS]['metrics'] == pytest.approx(
        evaluations[OURS]['metrics'], abs=1e-5, nan_ok=True
    )


def test_the_compiled_specifications_differ_only_in_versions(
    facts: dict, folders: dict[str, Path]
) -> None:
    texts = []
    for environment, folder in folders.items():
        text = (folder / 'spec.yaml').read_text()
        version = facts[environment]['versions']['tfx']
        assert f'sdkVersion: tfx-{version}' in text
        # The nonce of a push is random while no model is served.
        text, nonces = re.subn(r'("push_nonce": ?")[0-9a-f]{32}"', r'\1"', text)
        assert nonces == 1
        texts.append(text.replace(f'tfx-{version}', 'tfx'))
    assert texts[0] == texts[1]
