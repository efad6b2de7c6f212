"""Measure the training step or the data path, beside plain versions."""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['step', 'data'])
    args, rest = parser.parse_known_args(sys.argv[1:2])
    importlib.import_module(f'benchmarks.{args.what}').main(sys.argv[2:])


if __name__ == '__main__':
    main()
