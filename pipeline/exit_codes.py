"""What `cxr-triage run` and `submit --wait` exit with."""

from __future__ import annotations

PUSHED = 0
FAILED = 1
NOT_BLESSED = 3
