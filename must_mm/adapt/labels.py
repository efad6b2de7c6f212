"""Labels that a person gave: ``review.csv``, or a folder for each class."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..utils.lists import NoList, read_text, same_name
from .names import labelled_images, same
from .result import ToReview

NO_CLASS = '-'  # the label of an image that is of none of the classes
PATH, LABEL = 'path', 'label'
COLUMNS = (PATH, LABEL, 'class', 'confidence', 'second_class', 'agreement')


@dataclass(frozen=True)
class Known:
    """What is known of images.

    Attributes:
        labels: Index of the class of an image: of its path below the folder
            of images, or of its absolute path where it lies elsewhere.
        none: Images of none of the classes.
        gone: Images that had a label and are there no longer.
    """

    labels: dict[str, int] = field(default_factory=dict)
    none: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.labels or self.none)

    def updated(self, newer: 'Known') -> 'Known':
        """What is known with what is said later, which prevails."""
        labels = {
            name: label
            for name, label in self.labels.items()
            if name not in newer.none
        }
        none = self.none - newer.labels.keys()
        return Known(
            labels | newer.labels, none | newer.none, self.gone | newer.gone
        )


def write_review(
    review: Sequence[ToReview], classes: Sequence[str], path: Path
) -> None:
    """Write the images to be labelled, the column ``label`` left empty."""
    # with a mark, by which Excel knows UTF-8
    with path.open('w', encoding='utf-8-sig', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for image in review:
            found = image.prediction
            writer.writerow(
                (
                    found.name,
                    '',
                    classes[found.label],
                    f'{found.confidence:.4f}',
                    classes[found.runner_up],
                    f'{found.agreement:.2f}',
                )
            )


def is_filled_in(path: Path) -> bool:
    """Whether somebody has labelled what :func:`write_review` wrote."""
    if not path.is_file():
        return False
    try:
        return any(_labelled_rows(path))
    except ValueError:
        return True  # saved as something else, by somebody


def read_labels(
    given: Path, folder: Path, names: Sequence[str], classes: Sequence[str]
) -> Known:
    """Read ``--labels``.

    Args:
        given: A CSV file with the columns ``path`` (below the folder of
            images) and ``label`` (a class, ``-`` for none of them, or empty
            for what is not known), or a folder of labelled images, one sub
            folder for each class. Copies of images of the folder stand for
            them; others are learned from, too.
        folder: The folder of images.
        names: Paths of the images below it.
        classes: Class names.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a path or a label is unknown, or two labels of an
            image differ, with the line; or if nothing is labelled.
    """
    if given.is_dir():
        known = _from_folder(given, folder, names, classes)
    elif given.is_file():
        known = _from_table(given, folder, names, classes)
    else:
        raise FileNotFoundError(f'--labels: there is no file {given}')
    if not known:
        raise ValueError(
            f'--labels {given}: nothing is labelled; write classes into the '
            f'column {LABEL!r}; or label images in report.html, save, and '
            'give the file that the browser saved, usually in Downloads'
        )
    return known


def read_kept(
    path: Path, folder: Path, names: Sequence[str], classes: Sequence[str]
) -> Known:
    """Read what :func:`save` has kept; images may have gone since.

    Args:
        path: The file.
        folder: The folder of images.
        names: Paths of the images below it.
        classes: Class names.

    Raises:
        ValueError: If it is damaged, with the line.
    """
    return _from_table(path, folder, names, classes, may_be_gone=True)


def _from_table(
    path: Path,
    folder: Path,
    names: Sequence[str],
    classes: Sequence[str],
    may_be_gone: bool = False,
) -> Known:
    index = {same(name): k for k, name in enumerate(classes)}
    there, labels, none = {same_name(n): n for n in names}, {}, set()
    gone = set()
    for where, given, label in _labelled_rows(path):
        name = _image_of(given, folder, there)
        if name is None and may_be_gone:
            gone.add(given)
            continue
        if name is None:
            raise ValueError(
                f'{where}: {given!r} is none of the images; paths are below '
                'the folder of images, as in predictions.csv'
            )
        if label != NO_CLASS and same(label) not in index:
            raise ValueError(
                f'{where}: {label!r} is no class; the classes are '
                f'{", ".join(classes[:20])}{", ..." * (len(classes) > 20)}, '
                f'and {NO_CLASS} for none of them'
            )
        said = index.get(same(label), -1) if label != NO_CLASS else -1
        if labels.get(name, -1 if name in none else said) != said:
            raise ValueError(f'{where}: {name!r} has two labels')
        if said < 0:
            none.add(name)
        else:
            labels[name] = said
    return Known(labels, none, gone)


def _labelled_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where each label stands, in words; path and label, if not empty.

    Raises:
        ValueError: If it is no such table, with the fix.
    """
    try:
        text = read_text(path)
    except NoList as error:
        raise ValueError(f'--labels: {path} {error}') from error
    head = text.partition('\n')[0]
    # spreadsheets of half of the world separate by semicolons
    comma = max(',;\t', key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=''), delimiter=comma)
    try:
        columns = [name.strip().lower() for name in rows.fieldnames or []]
        missing = [name for name in (PATH, LABEL) if name not in columns]
        if missing:
            raise ValueError(
                f'--labels {path}: the first line has no column '
                f'{" and ".join(missing)}; it needs {PATH} and {LABEL}'
            )
        rows.fieldnames = columns
        for row in rows:
            label = (row[LABEL] or '').strip()
            if label:
                where = f'--labels {path}, line {rows.line_num}'
                yield where, row[PATH] or '', label
    except csv.Error as error:
        raise ValueError(
            f'--labels {path}: this is no table ({error}); it needs the '
            f'columns {PATH} and {LABEL}'
        ) from error


def _image_of(
    given: str, folder: Path, there: Mapping[str, str]
) -> str | None:
    """An image by the path that stands in a table.

    Args:
        given: Below the folder of images, or absolute.
        folder: The folder of images.
        there: Paths of its images, by the form that :func:`same_name` gives.

    Returns:
        The path as it is listed, or that of a file elsewhere.
    """
    path, below = Path(given), [given]
    if path.is_absolute():
        below = [
            one.relative_to(folder).as_posix()
            for one in (path, path.resolve())
            if one.is_relative_to(folder)
        ]
    for name in map(same_name, below):
        if name in there:
            return there[name]
    return given if path.is_absolute() and path.is_file() else None


def _from_folder(
    given: Path, folder: Path, names: Sequence[str], classes: Sequence[str]
) -> Known:
    labelled = {
        given / name: label
        for name, label in labelled_images(given, classes, '--labels')
    }
    twins = same_files(labelled, (folder / name for name in names))
    labels: dict[str, int] = {}
    for path, label in labelled.items():
        own = twins.get(path)
        name = own.relative_to(folder).as_posix() if own else str(path)
        if labels.setdefault(name, label) != label:
            raise ValueError(f'--labels {given}: {path} has two labels')
    return Known(labels)


def same_files(
    wanted: Iterable[Path], among: Iterable[Path]
) -> dict[Path, Path]:
    """Find files of the same content.

    Args:
        wanted: Files.
        among: Others, of which only those of the same size are read.

    Returns:
        For each of the wanted ones that has one, its twin.
    """
    sizes: dict[int, list[Path]] = {}
    for path in wanted:
        sizes.setdefault(path.stat().st_size, []).append(path)
    digests: dict[str, list[Path]] = {}
    for path in (path for group in sizes.values() for path in group):
        digests.setdefault(_digest(path), []).append(path)
    found: dict[Path, Path] = {}
    for path in among:
        if path.stat().st_size in sizes:
            for twin in digests.get(_digest(path), []):
                found.setdefault(twin, path)
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(known: Known, classes: Sequence[str], path: Path) -> None:
    """Keep what is known, in a form that can be given as ``--labels``."""
    rows = [(name, classes[k]) for name, k in known.labels.items()]
    rows += [(name, NO_CLASS) for name in known.none]
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow((PATH, LABEL))
        writer.writerows(sorted(rows))


def not_measured(
    known: Known, folder: Path, eval_folder: Path, labelled: Iterable[str]
) -> set[str]:
    """Find images of ``--eval`` whose labels are trained on.

    Args:
        known: What is known.
        folder: The folder of images.
        eval_folder: That of ``--eval``.
        labelled: Paths of its images below it.

    Returns:
        Those of the paths that are, or are copies of, images with a label.
    """
    wanted = [folder / name for name in known.labels]
    at = {eval_folder / name: name for name in labelled}
    sizes = {path.stat().st_size for path in wanted if path.is_file()}
    digests = {_digest(path) for path in wanted if path.is_file()}
    return {
        name
        for path, name in at.items()
        if path.stat().st_size in sizes and _digest(path) in digests
    }
