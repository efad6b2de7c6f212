"""The command ``must-adapt``."""

import argparse
import gc
import shlex
import sys
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from . import __version__
from .corrected import corrected_folder
from .options import (
    FILE,
    PREDICTED,
    Options,
    add_options,
    check_at_sight,
    check_folder,
    check_given,
    check_out,
    going_on,
    load_moved,
)

_CONFIG_KEYS = {
    'model.start.model': '--model',
    'model.start.pretrained': '--pretrained',
    'model.start.classes': '--classes',
}

USAGE = """must-adapt IMAGES --classes NAMES [options]
       must-adapt [IMAGES] --resume DIR [--labels FILE]
       must-adapt IMAGES --predict RESULT [--out DIR]"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog='must-adapt',
        usage=USAGE,
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
    add(
        '--predict',
        metavar='RESULT',
        help='Classify IMAGES with the result in the folder RESULT; nothing '
        'is trained',
    )
    add('--version', action='version', version=f'must_mm {__version__}')
    argv = sys.argv[1:] if argv is None else argv
    args, more = parser.parse_known_args(argv)
    wrong = _many_names(args, argv, more) or _not_together(args)
    if more and not wrong:
        wrong = f'unrecognized arguments: {" ".join(more)}'
    if wrong:
        parser.error(wrong)
    return args


def _many_names(
    args: argparse.Namespace, argv: list[str], more: list[str]
) -> str | None:
    """What is wrong with names that are not in quotes."""
    if not more or '--classes' not in argv:
        return None
    after = argv[argv.index('--classes') + 1 :]
    names = list(takewhile(lambda word: not word.startswith('-'), after))
    if len(names) < 2 or not set(more) <= set(names):
        return None
    if args.images in names and Path(names[-1]).is_dir():
        names.pop()  # that is IMAGES
    names = [name.strip(' ,') for name in names]
    return (
        'put the names in one pair of quotes, with commas: --classes '
        f'{shlex.quote(", ".join(names))}'
    )


def _not_together(args: argparse.Namespace) -> str | None:
    """What is wrong with the options that are given together."""
    given = {
        name
        for name, value in vars(args).items()
        if value is not None and value is not False
    }
    if args.resume and given - {'images', 'resume', 'labels'}:
        return (
            '--resume DIR goes alone, or with --labels FILE, and with IMAGES '
            'if these have moved: DIR holds the options'
        )
    if args.predict and (given - {'predict', 'out'} != {'images'}):
        return (
            '--predict RESULT goes with IMAGES and --out DIR alone: RESULT '
            'holds the classifier, and nothing is trained'
        )
    if args.resume or args.predict or {'images', 'classes'} <= given:
        return None
    templates = getattr(args, 'templates', [])
    if not args.images and len(templates) > 1:
        return (
            f'IMAGES is missing: --templates has taken {templates[-1]!r}, as '
            'it takes all words up to the next option; write IMAGES first'
        )
    return (
        'IMAGES and --classes are needed, or IMAGES and --predict RESULT, or '
        '--resume DIR'
    )


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
    classifier = args.pop('predict')
    labels = args.get('labels') if there else None
    default = PREDICTED if classifier else Options.out
    out = Path(there or args.get('out', default)).expanduser().resolve()
    try:
        if classifier:
            return _predict(args['images'], classifier, out)
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


def _predict(images: str, result: str, out: Path) -> int:
    """Classify the images of a folder with a result."""
    check_folder(images, 'IMAGES')
    check_folder(result, '--predict')
    check_out(out, dry_run=True)
    from must_mm.adapt.later import classify_more, counted

    print(counted(classify_more(images, result, out), out))
    return 0


def _stopped(out: Path) -> int:
    more = ''
    if (out / FILE).is_file():
        more = f'; go on with\n  {going_on(out)}'
    print(f'\nmust-adapt: stopped{more}', file=sys.stderr)
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
