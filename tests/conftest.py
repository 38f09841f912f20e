"""Fixtures and hooks for all tests."""

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

# As in every command, this comes before anything imports Keras.
keras_settings.apply()
# Before anything imports TensorFlow, whose start-up messages would hide a failure.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')

_REAL_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'
_REAL_FILES = 2  # 244 images


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a skipped test that needs the real X-rays if CXR_REQUIRE_REAL_DATA=1 forbids that."""
    report = yield
    needs_real_data = item.get_closest_marker('real_data') is not None or 'real_data' in getattr(
        item, 'fixturenames', ()
    )
    if (
        report.skipped
        and needs_real_data
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
    """Enables logging after each test, since commands disable it for their whole process."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder with real NIH X-rays in record files; skips the test if it does not exist."""
    if not _REAL_DATA.is_dir():
        pytest.skip(f'real X-rays are not at {_REAL_DATA}')
    return _REAL_DATA


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    """Chromium without a network; without Chromium the test is skipped or fails.

    See `tests/support/chromium.py`.
    """
    from tests.support import chromium as browsing

    # One for each module, not for the session: Playwright occupies the thread's event loop, which
    # other tests need.
    with browsing.chromium() as browser:
        yield browser


@pytest.fixture(scope='session')
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root for runs in containers and environments: real images, or else synthetic ones.

    Both have 244 images.
    """
    folder = tmp_path_factory.mktemp('images')
    # The other environment sees the folder itself, not a link to it.
    real = (_REAL_DATA / 'nih').resolve()
    if not real.is_dir():
        write_dataset(folder, count=244, seed=7)
        return folder
    (folder / 'metadata').symlink_to(real / 'metadata')
    (folder / 'data').mkdir()
    for path in sorted((real / 'data').glob('*.tfrec'))[:_REAL_FILES]:
        (folder / 'data' / path.name).symlink_to(path)
    return folder
