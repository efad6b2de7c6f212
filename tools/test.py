"""Evaluate student and teacher: python tools/test.py CONFIG CHECKPOINT"""

from must_mm.runs.launch import main

if __name__ == '__main__':
    main(__doc__, 'test')
