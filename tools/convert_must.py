"""Convert a checkpoint of the published MUST code, or back with --back.

The converted file goes into load_from; a teacher comes along. With --back,
CHECKPOINT is one of a run of ours.
"""

import argparse

from must_mm.checkpoints.plain import load_tensors, save_tensors
from must_mm.weights.convert import (
    from_published,
    read_published,
    to_published,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint')
    parser.add_argument('out')
    parser.add_argument('--back', action='store_true')
    args = parser.parse_args()
    if args.back:
        checkpoint = load_tensors(args.checkpoint)
        if 'state_dict' not in checkpoint:
            parser.error(
                f'--back: {args.checkpoint} has no state_dict; give a '
                'checkpoint of a run of ours'
            )
        converted = to_published(checkpoint['state_dict'])
    else:
        state = from_published(read_published(args.checkpoint))
        converted = dict(state_dict=state)
    save_tensors(converted, args.out)
    print(args.out)


if __name__ == '__main__':
    main()
