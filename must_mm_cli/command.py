"""The command ``must-adapt``."""

import argparse
import gc
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from .corrected import corrected_folder
from .options import (
    FILE,
    Options,
    add_options,
    check_at_sight,
    check_given,
    check_out,
    load_moved,
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
    add_options(parser)
    add = parser.add_argument
    add(
        '--dry-run',
        action='store_true',
        help='Show counts, settings, expected time and memory; write nothing',
    )
    add('--resume', metavar='DIR', help='Go on with the run in DIR')
    args = parser.parse_args(argv)
    if args.resume:
        alone = {'images', 'classes', 'resume', 'dry_run', 'labels'}
        more = set(vars(args)) - alone
        if args.classes or args.dry_run or more:
            parser.error(
                '--resume DIR goes alone, or with --labels FILE, and with '
                'IMAGES if these have moved: DIR holds the options'
            )
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
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a name gets it with escapes
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    args = vars(parse_args(argv))
    options = None
    there, dry = args.pop('resume'), args.pop('dry_run')
    labels = args.get('labels') if there else None
    out = Path(there or args.get('out', Options.out)).expanduser().resolve()
    try:
        options = load_moved(out, args['images']) if there else Options(**args)
        if labels:
            options = replace(options, labels=labels, after=str(out))
            out = corrected_folder(out)
        check_at_sight(options)
        if not there:
            check_given(options, args)
            check_out(out, dry_run=True)
        # here and not above: it takes seconds
        from must_mm.adapt.preparation import show
        from must_mm.adapt.result import summary
        from must_mm.adapt.run import adapt, dry_run, resume

        # MMEngine searches all objects for garbage with every data set
        gc.freeze()
        if dry:
            show(dry_run(**args))
            return 0
        result = (
            resume(there, labels, args['images']) if there else adapt(**args)
        )
    except KeyboardInterrupt:
        return _stopped(out)
    except (
        ArithmeticError,  # a loss that is not finite
        ImportError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        if _is_interrupt(error):
            return _stopped(out)
        text = str(error)
        # a MUST config as the model has these keys itself
        if options is None or not options.config:
            for key, option in _CONFIG_KEYS.items():
                text = text.replace(key, option)
        print(f'must-adapt: {text}', file=sys.stderr)
        return 1
    print(summary(result, out))
    return 0


def _stopped(out: Path) -> int:
    going_on = ''
    if (out / FILE).is_file():
        going_on = (
            f'; go on with\n  must-adapt --resume {shlex.quote(str(out))}'
        )
    print(f'\nmust-adapt: stopped{going_on}', file=sys.stderr)
    return 130


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C stands behind an error.

    While a checkpoint is written, torch turns it into an error of its own.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


if __name__ == '__main__':
    sys.exit(main())
