"""The container images of this working copy, built with an engine that runs or one of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from scripts.images import __main__ as images
from scripts.images.base import BaseError
from scripts.images.engine import Engine, EngineError, engine

_REQUIRED = 'CXR_REQUIRE_CONTAINERS'


@pytest.fixture(scope='session')
def docker() -> Iterator[Engine]:
    """An engine; without one, the tests are skipped, or fail in continuous integration."""
    try:
        with engine(images.STORE) as running:
            yield running
    except EngineError as error:
        if os.environ.get(_REQUIRED) == '1':
            pytest.fail(f'{error}\n(no skip while {_REQUIRED}=1)')
        pytest.skip(str(error))


@pytest.fixture(scope='session')
def image(docker: Engine, beam_image: str) -> str:
    """The tag of the CPU image. An unchanged image takes no time to build again.

    The image of Beam workers comes first: it contains this one, and BuildKit compiles its boot
    program while it installs the packages.
    """
    return build_image(docker, 'cpu')


@pytest.fixture(scope='session')
def beam_image(docker: Engine) -> str:
    """The tag of the image of Beam workers."""
    return build_image(docker, 'beam')


def build_image(docker: Engine, target: str) -> str:
    """Builds an image, and returns its tag; without a base image, the test is skipped or fails."""
    tag = f'cxr-triage:{target}'
    try:
        images.build(docker, target, tag, images.default_base(docker))
    except BaseError as error:
        if os.environ.get(_REQUIRED) == '1':
            pytest.fail(f'{error}\n(no skip while {_REQUIRED}=1)')
        pytest.skip(str(error))
    return tag
