"""An archive for tests; without its programs, they are skipped, or fail where it is required."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from benchmarks.serving import orthanc
from benchmarks.serving.orthanc import Archive, free_ports
from serving.pacs.settings import Tls

__all__ = ['Archive', 'free_ports', 'require', 'running']


def require() -> None:
    """Skips a test, or lets it fail, if a program is missing."""
    try:
        orthanc.check()
    except orthanc.MissingError as error:
        if os.environ.get('CXR_REQUIRE_ARCHIVE'):
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextlib.contextmanager
def running(gateway: tuple[str, int] | None = None, tls: Tls | None = None) -> Iterator[Archive]:
    """An empty archive, stopped at the end."""
    require()
    with orthanc.running(gateway, tls) as archive:
        yield archive
