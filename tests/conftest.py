"""What all tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from records.synth import write_dataset
from trainer import keras_settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before anything imports Keras, as every command does.
keras_settings.apply()
# Before anything imports TensorFlow: its start-up messages would bury a failure.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')

_REAL_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'
_REAL_FILES = 2  # about 240 films


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CXR_REQUIRE_REAL_DATA=1 says that the real X-rays must be there, a skipped test that
    needs them fails.
    """
    report = yield
    needs_it = item.get_closest_marker('real_data') is not None or 'real_data' in getattr(
        item, 'fixturenames', ()
    )
    if (
        report.skipped
        and needs_it
        and not hasattr(report, 'wasxfail')
        and os.environ.get('CXR_REQUIRE_REAL_DATA') == '1'
    ):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = 'failed'
        report.longrepr = (
            f'{item.nodeid} needs real X-rays and must not be skipped while '
            f'CXR_REQUIRE_REAL_DATA=1. {reason}'
        )
    return report


@pytest.fixture(autouse=True)
def _logging_is_enabled() -> Iterator[None]:
    """Commands silence the logs of their process; the next test may look at its own."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder with real NIH X-rays in the real record format; the test is skipped where it is
    not there.
    """
    if not _REAL_DATA.is_dir():
        pytest.skip(f'real X-rays are not at {_REAL_DATA}')
    return _REAL_DATA


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    """Chromium without a network; the test is skipped, or fails, where there is none (see
    `tests/support/chromium.py`).
    """
    from tests.support import chromium as browsing

    # For a module and not for the session: Playwright keeps the thread's event loop, which other
    # tests have a use for.
    with browsing.chromium() as started:
        yield started


@pytest.fixture(scope='session')
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that is run through the pipeline in more than one place: real films where they
    are at hand, else synthetic ones.
    """
    folder = tmp_path_factory.mktemp('films')
    # Resolved: the other environment sees the folder itself, and not a link to it.
    real = (_REAL_DATA / 'nih').resolve()
    if not real.is_dir():
        write_dataset(folder, count=244, seed=7)
        return folder
    (folder / 'metadata').symlink_to(real / 'metadata')
    (folder / 'data').mkdir()
    for path in sorted((real / 'data').glob('*.tfrec'))[:_REAL_FILES]:
        (folder / 'data' / path.name).symlink_to(path)
    return folder
