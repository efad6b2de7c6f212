"""Train with a config: python tools/train.py configs/must/NAME.py"""

from must_mm.runs.launch import main

if __name__ == '__main__':
    main(__doc__, 'train')
