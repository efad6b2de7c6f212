"""Train on a folder of faults: python tools/soak_test.py"""

from tests.long.soak import main

if __name__ == '__main__':
    main()
