"""Train with a config: python tools/train.py configs/must/NAME.py"""

from must_mm.launch import build_runner

if __name__ == '__main__':
    build_runner(__doc__, 'train').train()
