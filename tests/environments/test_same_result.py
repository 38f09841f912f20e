"""Both locked environments make the same of the same films, and each runs what the other made.

The other environment is the command in CXR_OTHER_ENVIRONMENT that starts its Python in this folder,
for example `tests/support/debian13 .venv/bin/python`; both have to see the same temporary folder.
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
            f'{_VARIABLE} names no second environment, e.g. "tests/support/debian13 '
            '.venv/bin/python"'
        )
    return shlex.split(command)


@pytest.fixture(scope='module')
def folders(
    other: list[str], direct: Direct, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Where each environment puts what it makes."""
    return {OURS: direct.folder, THEIRS: tmp_path_factory.mktemp(THEIRS)}


@pytest.fixture(scope='module')
def made(
    other: list[str], direct: Direct, films: Path, folders: dict[str, Path]
) -> dict[str, dict[str, Any]]:
    """What each environment makes of the films."""
    return {OURS: direct.made, THEIRS: start('make', films, folders[THEIRS], python=other).facts()}


@pytest.fixture(scope='module', params=[OURS, THEIRS])
def judged(
    request: pytest.FixtureRequest,
    other: list[str],
    direct: Direct,
    made: dict,
    folders: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """What each environment says of the graph and the model of one of them."""
    folder = folders[request.param]
    ours = (
        direct.judged
        if request.param == OURS
        else start('judge', folder, tmp_path_factory.mktemp('by-ours')).facts()
    )
    return {
        OURS: ours,
        THEIRS: start('judge', folder, tmp_path_factory.mktemp('by-theirs'), python=other).facts(),
    }


def test_they_are_two_environments(made: dict) -> None:
    for package in ('tfx', 'tensorflow'):
        assert made[OURS]['versions'][package] != made[THEIRS]['versions'][package]


def test_the_same_records_are_in_the_same_splits(made: dict) -> None:
    assert all(made[OURS]['records'].values())
    assert made[OURS]['records'] == made[THEIRS]['records']


def test_statistics_are_equal(made: dict) -> None:
    assert all(
        split['datasets'][0]['numExamples'] != '0' for split in made[OURS]['statistics'].values()
    )
    assert made[OURS]['statistics'] == made[THEIRS]['statistics']


def test_transformed_images_are_equal_to_the_bit(made: dict) -> None:
    assert {split: set(images) for split, images in made[OURS]['pixels'].items()} == {
        split: set(images)
        for split, images in made[OURS]['records'].items()
        if split in made[OURS]['pixels']
    }
    assert made[OURS]['pixels'] == made[THEIRS]['pixels']


def test_a_transform_graph_gives_the_same_images_in_both(judged: dict) -> None:
    assert judged[OURS]['pixels']
    assert judged[OURS]['pixels'] == judged[THEIRS]['pixels']


def test_a_model_gives_the_same_scores_in_both(judged: dict) -> None:
    assert set(judged[OURS]['scores']) == {'serving_default', 'serve_image'}
    for signature, scores in judged[OURS]['scores'].items():
        other = judged[THEIRS]['scores'][signature]
        assert len(set(scores['probability'])) > len(scores['probability']) / 2, (
            'a model that answers the same to all proves nothing'
        )
        assert other['probability'] == pytest.approx(scores['probability'], abs=1e-5)
        assert other['flag'] == scores['flag']


def test_metrics_of_a_model_are_equal(judged: dict) -> None:
    assert len(judged[OURS]['metrics']) > 20
    assert judged[OURS]['blessed'] == judged[THEIRS]['blessed']
    # Scores that differ in the seventh digit move a mean as much, and no film past another.
    assert judged[THEIRS]['metrics'] == pytest.approx(
        judged[OURS]['metrics'], abs=1e-5, nan_ok=True
    )


def test_the_compiled_specification_differs_in_versions_only(
    made: dict, folders: dict[str, Path]
) -> None:
    texts = []
    for environment, folder in folders.items():
        text = (folder / 'spec.yaml').read_text()
        version = made[environment]['versions']['tfx']
        assert f'sdkVersion: tfx-{version}' in text
        # The nonce of a push is a random number while nothing is served.
        text, nonces = re.subn(r'("push_nonce": ?")[0-9a-f]{32}"', r'\1"', text)
        assert nonces == 1
        texts.append(text.replace(f'tfx-{version}', 'tfx'))
    assert texts[0] == texts[1]
