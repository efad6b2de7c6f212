"""Evaluate student and teacher: python tools/test.py CONFIG CHECKPOINT"""

from must_mm.launch import build_runner

if __name__ == '__main__':
    build_runner(__doc__, 'test').test()
