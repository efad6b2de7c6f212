"""``python -m must_mm_cli``: the command, where it is not installed."""

import sys

from .command import main

sys.exit(main())
