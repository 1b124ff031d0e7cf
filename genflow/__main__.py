"""`python -m genflow` is the command line."""

from __future__ import annotations

import sys

from genflow.cli import main

sys.exit(main())
