"""Write a zero-shot classifier to one file, for runs without a connection.

python tools/convert_clip.py --model ViT-B-16 --pretrained openai \\
    --classes classes.txt --templates templates.txt --out start.pth
"""

import argparse
from pathlib import Path

from must_mm.weights.open_clip_start import OpenCLIPStart


def names(value: str) -> str:
    """A text file, or the name of a data set that the package knows."""
    path = Path(value)
    known = value.isidentifier() and not path.is_file()
    return f'must_mm::{value}' if known else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--model',
        required=True,
        help='open_clip architecture, or its config (.json)',
    )
    parser.add_argument(
        '--pretrained',
        required=True,
        help='tag, fetched by open_clip, or a weights file: .safetensors, '
        "a state dict, or OpenAI's TorchScript archive",
    )
    for what in ('classes', 'templates'):
        parser.add_argument(
            f'--{what}',
            required=True,
            type=names,
            help='text file with one a line, or the name of a data set',
        )
    parser.add_argument('--out', required=True, help='the file to write')
    parser.add_argument(
        '--image-size',
        type=int,
        help="side of the images in pixels; the architecture's by default",
    )
    parser.add_argument('--allow-duplicates', action='store_true')
    options = vars(parser.parse_args())
    out = options.pop('out')
    try:
        OpenCLIPStart(**options).build(out)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        parser.error(str(error).replace('model.start.', '--'))


if __name__ == '__main__':
    main()
