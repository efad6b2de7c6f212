"""``python -m must_adapt``: the command, where it is not installed."""

import sys

from .command import main

sys.exit(main())
