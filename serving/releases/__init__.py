"""Which versions of a model are served, under which labels, and who released them."""

from __future__ import annotations

STABLE, CANARY = 'stable', 'canary'


class ReleaseError(RuntimeError):
    """A version that cannot be served or released; the text says why and what to do."""
