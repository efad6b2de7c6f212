"""What is measured: tools/benchmark.py NAME."""

import sys
from importlib import import_module
from pathlib import Path

#: Module of each benchmark.
PARTS = dict(
    accuracy='accuracy.command',
    corrections='corrections.command',
    outliers='outliers',
    step='step',
    data='data',
    photos='photo_experiment',
    scaling='scaling',
)


def main(argv: list[str]) -> None:
    """Hand the options on to the benchmark that is asked for."""
    if not argv or argv[0] not in PARTS:
        asked = argv[:1] in (['-h'], ['--help'])
        print(f'usage: benchmark.py {{{",".join(PARTS)}}} ... [-h]')
        sys.exit(0 if asked else 2)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import_module(f'benchmarks.{PARTS[argv[0]]}').main(argv[1:])


if __name__ == '__main__':
    main(sys.argv[1:])
