"""Entry point of scripts/bootstrap."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts.environment.choose import BootstrapError
from scripts.environment.install import bootstrap, say

try:
    bootstrap(Path(__file__).resolve().parents[2], os.environ)
except BootstrapError as error:
    say(str(error))
    sys.exit(1)
except KeyboardInterrupt:
    say('interrupted; the next run starts over')
    sys.exit(130)
