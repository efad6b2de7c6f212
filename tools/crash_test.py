"""Kill a run at random moments, resume it, compare it bit for bit."""

import sys

from tests.long.crash import main

if __name__ == '__main__':
    sys.exit(main())
