"""What `cxr-triage run` exits with."""

from __future__ import annotations

PUSHED = 0
FAILED = 1
NOT_BLESSED = 3
