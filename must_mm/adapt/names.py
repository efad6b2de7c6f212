"""Class names, templates, priors and labelled folders, as one writes them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..datasets import names as known
from ..utils.lists import SUFFIXES, NoList, read_shares, same_name
from ..weights.text import Names, read_classes, read_templates
from .images import find_images, folders_of

FOLDERS = '@folders'
AUTO = 'auto'  # shares of the classes are estimated
TEMPLATES = ('a photo of a {}.', 'a photo of the {}.')
# Folders of these names are parts of a data set, not classes.
_PARTS = frozenset(
    'train training val valid validation test testing dev eval unlabeled '
    'unlabelled'.split()
)
_ID = re.compile(
    r'(class|label|category|cat|cls|c|id|folder|cluster)?[\s_-]*\d+|'
    r'[nN]\d{8}|Q\d+|[0-9a-fA-F]{8,}|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}'
)


def same(name: str) -> str:
    """What of a name counts when names are compared."""
    bare = re.sub(r'[\s_-]+', ' ', same_name(name)).strip()
    return same_name(bare.casefold())


def _check_parts(key: str, folder: Path, names: Sequence[str]) -> None:
    """Refuse folders that are parts of a data set.

    Raises:
        ValueError: If they are, with what to give instead.
    """
    parts = [name for name in names if name.casefold() in _PARTS]
    if not parts or len(parts) < min(2, len(names)):
        return
    inside = folder / parts[0]
    raise ValueError(
        f'{key}: the folders in {folder} are parts of a data set '
        f'({", ".join(parts)}), not classes. Give one of them, such as '
        f'{inside}'
    )


def ids_among(names: Sequence[str]) -> str | None:
    """Say that names look like numbers or codes, which CLIP cannot read."""
    ids = [name for name in names if _ID.fullmatch(name)]
    if not ids:
        return None
    shown = ', '.join(ids[:3]) + (', ...' if len(ids) > 3 else '')
    return (
        f'{len(ids)} of {len(names)} class names look like ids ({shown}): '
        'the text tower reads names, so give --classes with words, unless '
        'the images show these'
    )


def class_names(given: Names, folder: Path) -> list[str]:
    """Read ``--classes``.

    Args:
        given: Names, as a list or with commas between; a file of them, see
            :func:`~must_mm.utils.lists.read_list`; ``@folders``, in any case,
            for the folders of images in ``folder``, ``_`` read as a space;
            ``must_mm::NAME`` for those of a data set.
        folder: The folder of images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there are fewer than two names, or two alike.
    """
    key = '--classes'
    hint = ''
    if isinstance(given, str) and given.lower() == FOLDERS:
        folder, folders = folders_of(folder)
        folders = [path for path in folders if find_images(path)]
        _check_parts(f'{key} {FOLDERS}', folder, [p.name for p in folders])
        given = [path.name.replace('_', ' ') for path in folders]
        if not given:
            raise ValueError(
                f'{key} {FOLDERS}: {folder} has no folders of images; write '
                "the names, as in --classes 'cat, dog'"
            )
    elif isinstance(given, str) and not (
        given.startswith(known.PREFIX)
        or Path(given).expanduser().is_file()
        or given.lower().endswith(SUFFIXES)
    ):
        hint = '; separate names by commas, no file of this name exists'
        given = given.split(',')
    names = read_classes(given, key, allow_duplicates=True)
    if len(names) == 1:
        raise ValueError(
            f'{key} has one name, {names[0]!r}: every image would be of that '
            'class, there is nothing to learn. Name the other classes, too'
            + hint
        )
    seen: dict[str, str] = {}
    for name in names:
        if same(name) in seen:
            raise ValueError(
                f'{key}: {seen[same(name)]!r} and {name!r} are the same '
                'name; leave one out'
            )
        seen[same(name)] = name
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
        given: ``uniform``, ``auto``; or for every class its share or count, as
            ``name=share,...``, as a text file with one such pair a line, or
            as a mapping.
        classes: The class names.

    Returns:
        A share for each class, of sum 1; ``None`` for the uniform prior.

    Raises:
        ValueError: If names are missing or unknown, or shares not positive.
    """
    key = '--class-prior'
    if given in (None, 'uniform', AUTO):
        return None
    if isinstance(given, str):
        given = _read_prior(given, key)
    shares = {same(name): share for name, share in given.items()}
    missing = [name for name in classes if same(name) not in shares]
    unknown = set(shares) - {same(name) for name in classes}
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
    prior = [float(shares[same(name)]) for name in classes]
    if not all(0 < share < float('inf') for share in prior):
        raise ValueError(f'{key}: shares must be positive, got {prior}')
    return [share / sum(prior) for share in prior]


def _others(path: Path, folders: Sequence[Path]) -> list[Path]:
    return [other for other in folders if other != path]


def _read_prior(given: str, key: str) -> dict[str, float]:
    """Shares by name, from ``name=share,...`` or from a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a share is missing or no number.
    """
    path = Path(given).expanduser()
    if path.is_file():
        try:
            return read_shares(path)
        except NoList as error:
            raise ValueError(f'{key}: {path} {error}') from error
    if '=' not in given:
        raise FileNotFoundError(
            f'{key}: there is no file {path}; give uniform, name=share,... or '
            'a file of such pairs'
        )
    pairs = {}
    for line in given.split(','):
        name, equals, share = line.rpartition('=')
        try:
            pairs[name] = float(share)
        except ValueError:
            equals = ''
        if not equals:
            raise ValueError(
                f'{key}: {line.strip()!r} is not of the form name=share'
            )
    return pairs


def labelled_images(
    folder: Path, classes: Sequence[str], key: str = '--eval'
) -> list[tuple[str, int]]:
    """List labelled images: one sub folder for each class.

    Names are compared without case, and a space, ``_`` and ``-`` are the
    same.

    Args:
        folder: The folder around those of the classes.
        classes: Class names.
        key: The option that gives it, for errors.

    Returns:
        Paths below the folder and the index of the class.

    Raises:
        ValueError: If a folder is of no class, or there are no images.
    """
    index = {same(name): i for i, name in enumerate(classes)}
    top = folder
    folder, folders = folders_of(folder)
    if not any(same(path.name) in index for path in folders):
        _check_parts(key, folder, [path.name for path in folders])
    unknown = [p.name for p in folders if same(p.name) not in index]
    if unknown:
        named = {same(path.name) for path in folders}
        free = [name for name in classes if same(name) not in named]
        raise ValueError(
            f'{key} {folder}: these folders are no classes: '
            f'{", ".join(unknown)}'
            + (
                f'; these classes have no folder: {", ".join(free)}'
                * bool(free)
            )
            + '. Rename one or the other'
        )
    images = [
        (
            (path.relative_to(top) / name).as_posix(),
            index[same(path.name)],
        )
        for path in folders
        # a link back, or to another class, leads nowhere
        for name in find_images(path, top, folder, *_others(path, folders))
    ]
    if not images:
        raise ValueError(
            f'{key} {folder}: there are no images in folders named as the '
            'classes'
        )
    return images
