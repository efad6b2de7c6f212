"""Class names, templates, priors and labelled folders, as one writes them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..datasets import names as known
from ..weights.text import Names, read_classes, read_lines, read_templates
from .images import find_images

FOLDERS = '@folders'
TEMPLATES = ('a photo of a {}.', 'a photo of the {}.')


def _same(name: str) -> str:
    """What of a name counts when names are compared."""
    return re.sub(r'[\s_-]+', ' ', name).strip().casefold()


def class_names(given: Names, folder: Path) -> list[str]:
    """Read ``--classes``.

    Args:
        given: Names, as a list or with commas between; a text file with one
            a line; ``@folders`` for the folders of images in ``folder``,
            ``_`` read as a space; ``must_mm::NAME`` for those of a data set.
        folder: The folder of images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there are fewer than two names, or two alike.
    """
    key = '--classes'
    if given == FOLDERS:
        given = [
            path.name.replace('_', ' ')
            for path in sorted(folder.iterdir())
            if path.is_dir() and find_images(path)
        ]
        if not given:
            raise ValueError(
                f'{key} {FOLDERS}: {folder} has no folders of images; write '
                "the names, as in --classes 'cat, dog'"
            )
    elif isinstance(given, str) and not (
        given.startswith(known.PREFIX)
        or Path(given).expanduser().is_file()
        or given.endswith('.txt')
    ):
        given = given.split(',')
    names = read_classes(given, key, allow_duplicates=True)
    if len(names) == 1:
        raise ValueError(
            f'{key} has one name, {names[0]!r}: every image would be of that '
            'class, there is nothing to learn. Name the other classes, too'
        )
    seen: dict[str, str] = {}
    for name in names:
        if _same(name) in seen:
            raise ValueError(
                f'{key}: {seen[_same(name)]!r} and {name!r} are the same '
                'name; leave one out'
            )
        seen[_same(name)] = name
    return names


def prompt_templates(given: Names | None) -> list[str]:
    """Read ``--templates``.

    Args:
        given: A text with ``{}``, several of them, a text file with one a
            line, or the name of a data set whose templates the package has;
            two plain sentences by default.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a template does not hold ``{}`` once.
    """
    given = given or list(TEMPLATES)
    if not isinstance(given, (str, Path)) and len(given) == 1:
        (given,) = given
    if isinstance(given, str):
        if given in known.NAMES:
            given = known.PREFIX + given
        elif '{' in given:
            given = [given]
        elif not Path(given).expanduser().is_file() and not given.startswith(
            known.PREFIX
        ):
            raise ValueError(
                f'--templates: {given!r} has no {{}} for the class name, is '
                'no text file, and no named set, which are '
                f'{", ".join(known.NAMES)}'
            )
    return read_templates(given, '--templates')


def class_prior(
    given: str | Mapping[str, float] | None, classes: Sequence[str]
) -> list[float] | None:
    """Read ``--class-prior``.

    Args:
        given: ``uniform``; or for every class its share or count, as
            ``name=share,...``, as a text file with one such pair a line, or
            as a mapping.
        classes: The class names.

    Returns:
        A share for each class, of sum 1; ``None`` for the uniform prior.

    Raises:
        ValueError: If names are missing or unknown, or shares not positive.
    """
    key = '--class-prior'
    if given in (None, 'uniform'):
        return None
    if isinstance(given, str):
        source = given
        if '=' not in given:
            source = read_lines(given, key)
        elif not Path(given).expanduser().is_file():
            source = given.split(',')
        pairs = {}
        for line in source:
            name, equals, share = line.rpartition('=')
            try:
                pairs[name] = float(share)
            except ValueError:
                equals = ''
            if not equals:
                raise ValueError(
                    f'{key}: {line.strip()!r} is not of the form name=share'
                )
        given = pairs
    shares = {_same(name): share for name, share in given.items()}
    missing = [name for name in classes if _same(name) not in shares]
    unknown = set(shares) - {_same(name) for name in classes}
    if missing or unknown:
        raise ValueError(
            f'{key} needs a share for each class'
            + (f'; without: {", ".join(missing)}' if missing else '')
            + (
                f'; not a class: {", ".join(sorted(unknown))}'
                if unknown
                else ''
            )
        )
    prior = [float(shares[_same(name)]) for name in classes]
    if not all(0 < share < float('inf') for share in prior):
        raise ValueError(f'{key}: shares must be positive, got {prior}')
    return [share / sum(prior) for share in prior]


def labelled_images(
    folder: Path, classes: Sequence[str]
) -> list[tuple[str, int]]:
    """List the images of ``--eval``: one sub folder for each class.

    Names are compared without case, and a space, ``_`` and ``-`` are the
    same.

    Returns:
        Paths below the folder and the index of the class.

    Raises:
        ValueError: If a folder is of no class, or there are no images.
    """
    index = {_same(name): i for i, name in enumerate(classes)}
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    unknown = [p.name for p in folders if _same(p.name) not in index]
    if unknown:
        named = {_same(path.name) for path in folders}
        free = [name for name in classes if _same(name) not in named]
        raise ValueError(
            f'--eval {folder}: these folders are no classes: '
            f'{", ".join(unknown)}'
            + (
                f'; these classes have no folder: {", ".join(free)}'
                * bool(free)
            )
            + '. Rename one or the other'
        )
    images = [
        (f'{path.name}/{name}', index[_same(path.name)])
        for path in folders
        for name in find_images(path)
    ]
    if not images:
        raise ValueError(
            f'--eval {folder}: there are no images in folders named as the '
            'classes'
        )
    return images
