"""Class names and prompt templates of the data sets of MUST and of CIFAR.

Each ``prompts/NAME.json`` holds the templates and a table ``{the data set's
own class name: name in the prompt}`` in the order of the data set's labels.
The own names are those of MMPretrain's data set, ImageNet's the WordNet ids
of its folders (MMPretrain's list has two cranes). Names and templates are
those of CLIP, as MUST uses them: ImageNet's repeat two names.
"""

import json
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / 'prompts'
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob('*.json')))
PREFIX = 'must_mm::'


@cache
def _prompts(name: str) -> dict:
    if name not in NAMES:
        raise ValueError(
            f'there are no class names and templates for {name!r}; there are '
            f'some for {", ".join(NAMES)}'
        )
    return json.loads((_FOLDER / f'{name}.json').read_text('utf-8'))


def class_table(name: str) -> dict[str, str]:
    """Map a data set's own class names to those in its prompts.

    Args:
        name: One of ``NAMES``, for instance ``'food101'``.

    Returns:
        ``{own name: prompt name}``, in the order of the labels.

    Raises:
        ValueError: If there is no such data set.
    """
    return dict(_prompts(name)['classes'])


def class_names(name: str) -> list[str]:
    """Class names for prompts, in the order of the labels.

    Raises:
        ValueError: If there is no such data set.
    """
    return list(_prompts(name)['classes'].values())


def templates(name: str) -> list[str]:
    """Prompt templates with ``{}`` for the class name.

    Raises:
        ValueError: If there is no such data set.
    """
    return list(_prompts(name)['templates'])
