"""Compare this implementation with steps recorded from the published one."""

import argparse
import sys

from must_mm.runs.command import OverrideAction
from tests.long.replay import replay


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('recording', help='a must_*.npz or maect_*.npz file')
    parser.add_argument(
        '--rtol', type=float, default=1e-4, help='largest relative error'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverrideAction,
        default={},
        metavar='KEY=VALUE',
        help="override keys of MUST's config, such as a switch for speed",
    )
    args = parser.parse_args()
    errors = []
    for rank, rows in enumerate(replay(args.recording, args.cfg_options)):
        for row in rows:
            verdict = 'ok' if row.error <= args.rtol else 'FAILED'
            print(f'rank {rank}  {row.name:32} {row.error:8.1e}  {verdict}')
            errors.append(row.error)
    # an undefined error is a failure, and max() would pass over it
    ok = all(error <= args.rtol for error in errors)
    worst = max(errors)
    print(
        f'{args.recording}: largest relative error {worst:.1e}, '
        f'tolerance {args.rtol:.0e}'
    )
    return int(not ok)


if __name__ == '__main__':
    sys.exit(main())
