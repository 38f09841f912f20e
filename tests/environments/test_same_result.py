"""Both locked environments make the same of the same films, and each runs what the other made.

The other environment is the command in CXR_OTHER_ENVIRONMENT that starts its Python in this folder, for example
`scripts/debian13 .venv/bin/python`; both have to see the same temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

_PROJECT = Path(__file__).resolve().parents[2]
_VARIABLE = 'CXR_OTHER_ENVIRONMENT'
OURS, THEIRS = 'ours', 'theirs'
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command of `leavings` in an environment and returns the facts that it left in its folder, the last argument."""
    command = os.environ.get(_VARIABLE)
    if not command:
        pytest.skip(f'{_VARIABLE} names no second environment, e.g. "scripts/debian13 .venv/bin/python"')
    pythons = {OURS: [sys.executable], THEIRS: shlex.split(command)}

    def start(environment: str, *arguments: str | Path) -> dict[str, Any]:
        module = ['-m', 'tests.environments.leavings', *map(str, arguments)]
        done = subprocess.run([*pythons[environment], *module], cwd=_PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f'{environment}: {" ".join(module)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
        return json.loads((Path(arguments[-1]) / 'facts.json').read_text())

    return start


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each environment puts what it makes."""
    return {environment: tmp_path_factory.mktemp(environment) for environment in (OURS, THEIRS)}


@pytest.fixture(scope='module')
def made(run: Run, films: Path, folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """What each environment makes of the films."""
    return {environment: run(environment, 'make', films, folders[environment]) for environment in folders}


@pytest.fixture(scope='module', params=[OURS, THEIRS])
def judged(
    request: pytest.FixtureRequest, run: Run, made: dict, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What each environment says of the graph and the model of one of them."""
    return {judge: run(judge, 'judge', folders[request.param], tmp_path_factory.mktemp(f'by-{judge}')) for judge in folders}


def test_they_are_two_environments(made: dict) -> None:
    for package in ('tfx', 'tensorflow'):
        assert made[OURS]['versions'][package] != made[THEIRS]['versions'][package]


def test_the_same_records_are_in_the_same_splits(made: dict) -> None:
    assert all(made[OURS]['records'].values())
    assert made[OURS]['records'] == made[THEIRS]['records']


def test_statistics_are_equal(made: dict) -> None:
    assert all(split['datasets'][0]['numExamples'] != '0' for split in made[OURS]['statistics'].values())
    assert made[OURS]['statistics'] == made[THEIRS]['statistics']


def test_transformed_images_are_equal_to_the_bit(made: dict) -> None:
    assert {split: set(images) for split, images in made[OURS]['pixels'].items()} == {
        split: set(images) for split, images in made[OURS]['records'].items() if split in made[OURS]['pixels']
    }
    assert made[OURS]['pixels'] == made[THEIRS]['pixels']


def test_a_transform_graph_gives_the_same_images_in_both(judged: dict) -> None:
    assert judged[OURS]['pixels']
    assert judged[OURS]['pixels'] == judged[THEIRS]['pixels']


def test_a_model_gives_the_same_scores_in_both(judged: dict) -> None:
    assert set(judged[OURS]['scores']) == {'serving_default', 'serve_image'}
    for signature, scores in judged[OURS]['scores'].items():
        other = judged[THEIRS]['scores'][signature]
        assert len(set(scores['probability'])) > len(scores['probability']) / 2, 'a model that answers the same to all proves nothing'
        assert other['probability'] == pytest.approx(scores['probability'], abs=1e-5)
        assert other['flag'] == scores['flag']


def test_metrics_of_a_model_are_equal(judged: dict) -> None:
    assert len(judged[OURS]['metrics']) > 20
    assert judged[OURS]['blessed'] == judged[THEIRS]['blessed']
    # Scores that differ in the seventh digit move a mean as much, and no film past another.
    assert judged[THEIRS]['metrics'] == pytest.approx(judged[OURS]['metrics'], abs=1e-5, nan_ok=True)


def test_the_compiled_specification_differs_in_versions_only(made: dict, folders: dict[str, Path]) -> None:
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
