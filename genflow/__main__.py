"""`python -m genflow` is the command line."""

from __future__ import annotations

import os
import sys

# Python puts the current folder first, where a file may have the name of any library; see `genflow.naming.own_modules`.
if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from genflow.cli import main

sys.exit(main())
