"""Compare converted towers with open_clip's own, on random weights."""

import argparse
import sys
import tempfile

from tests.long.tower_check import parse_tower, tower_error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        type=parse_tower,
        metavar='NAME[:BLOCKS][@PIXELS]',
        help='open_clip architectures, e.g. ViT-B-32, ViT-g-14:4, '
        'ViT-B-16@384',
    )
    parser.add_argument(
        '--rtol', type=float, default=1e-4, help='largest relative error'
    )
    args = parser.parse_args()
    worst = 0.0
    for model, name, blocks, pixels in args.models:
        with tempfile.TemporaryDirectory() as folder:
            error = tower_error(
                folder,
                name,
                vision=dict(layers=blocks) if blocks else None,
                image_size=pixels,
            )
        print(f'{model:32} {error:8.1e}', flush=True)
        worst = max(worst, error)
    return int(not worst <= args.rtol)


if __name__ == '__main__':
    sys.exit(main())
