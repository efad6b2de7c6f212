"""The command ``must-adapt``."""

import argparse
import sys
from pathlib import Path

from .options import (
    FILE,
    Options,
    check_at_sight,
    check_given,
    check_out,
    load,
)

_CONFIG_KEYS = {
    'model.start.model': '--model',
    'model.start.pretrained': '--pretrained',
    'model.start.classes': '--classes',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog='must-adapt',
        description='Adapt a CLIP-like classifier to your images, without '
        'labels.',
    )
    # what is not given is not set: the defaults are those of Options
    add = parser.add_argument
    parser.set_defaults(**dict.fromkeys(['images', 'classes', 'resume']))
    add('images', nargs='?', metavar='IMAGES', help='folder of images')
    add(
        '--classes',
        help="class names, as in 'cat, dog'; a text file with one a line; or "
        '@folders for the names of the folders in IMAGES',
    )
    only = dict(default=argparse.SUPPRESS)
    add(
        '--model',
        **only,
        help='open_clip architecture or model config (.json), or a MUST '
        f'config (.py); {Options.model} by default',
    )
    add(
        '--pretrained',
        **only,
        help='tag of open_clip, fetched if it is not there, or a local file; '
        f'{Options.pretrained} by default',
    )
    add(
        '--templates',
        nargs='+',
        **only,
        help="texts as 'a photo of a {}.', a text file, or a named set such "
        'as imagenet',
    )
    add('--eval', metavar='FOLDER', **only, help='labelled images, to measure')
    add('--out', metavar='DIR', **only, help='new folder for all results')
    add(
        '--class-prior',
        **only,
        help='uniform (the default), or name=share,... or a file of them',
    )
    add(
        '--fairness-weight',
        type=float,
        **only,
        help='how much predictions are pulled towards the class prior; '
        f'{Options.fairness_weight:g} by default',
    )
    add(
        '--network',
        choices=['student', 'teacher'],
        **only,
        help=f'which one is exported; {Options.network} by default',
    )
    add('--epochs', type=int, **only, help='passes over the images')
    add('--seed', type=int, **only, help=f'{Options.seed} by default')
    add('--onnx', action='store_true', **only, help='write ONNX, too')
    add(
        '--dry-run',
        action='store_true',
        help='show counts, settings, expected time and memory; write nothing',
    )
    add('--resume', metavar='DIR', help='go on with the run in DIR')
    args = parser.parse_args(argv)
    if args.resume:
        more = set(vars(args)) - {'images', 'classes', 'resume', 'dry_run'}
        if args.images or args.classes or args.dry_run or more:
            parser.error('--resume DIR goes alone: DIR holds the options')
    elif not args.images or not args.classes:
        parser.error('IMAGES and --classes are needed, or --resume DIR')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        Exit status: 0, 1 after an error, 130 after Ctrl-C.
    """
    args = vars(parse_args(argv))
    there, dry = args.pop('resume'), args.pop('dry_run')
    out = Path(there or args.get('out', Options.out)).expanduser().resolve()
    try:
        if there:
            check_at_sight(load(out))
        else:
            options = Options(**args)
            check_at_sight(options)
            check_given(options, args)
            check_out(out, dry_run=True)
        # here and not above: it takes seconds
        from must_mm.adapt.result import summary
        from must_mm.adapt.run import adapt, dry_run, resume, show

        if dry:
            show(dry_run(**args))
            return 0
        result = resume(out) if there else adapt(**args)
    except KeyboardInterrupt:
        going_on = ''
        if (out / FILE).is_file():
            going_on = f'; go on with\n  must-adapt --resume {out}'
        print(f'\nmust-adapt: stopped{going_on}', file=sys.stderr)
        return 130
    except (
        ArithmeticError,  # a loss that is not finite
        ImportError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        text = str(error)
        for key, option in _CONFIG_KEYS.items():
            text = text.replace(key, option)
        print(f'must-adapt: {text}', file=sys.stderr)
        return 1
    print(summary(result, out))
    return 0


if __name__ == '__main__':
    sys.exit(main())
