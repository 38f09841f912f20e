"""`python -m pipeline` is `cxr-triage`."""

import sys

from pipeline.cli import main

sys.exit(main())
