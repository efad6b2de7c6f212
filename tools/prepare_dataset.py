"""Check the folder of a data set: tools/prepare_dataset.py NAME ROOT"""

import sys

from must_mm.datasets.prepare import main

if __name__ == '__main__':
    sys.exit(main())
