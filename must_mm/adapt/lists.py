"""The lists of a run's images, which a run that goes on is held to."""

from pathlib import Path

from ..checkpoints.whole_file import write_whole
from ..utils.lists import same_name
from .plan import Images
from .task import Task


def write_text(path: Path, text: str) -> None:
    """Write a text that appears once it is whole.

    Raises:
        OSError: If it cannot be written, with its name and the room there is.
    """
    # a file name that is not Unicode is written with escapes
    write_whole(path, text.encode('utf-8', 'backslashreplace'))


def write_lists(task: Task, images: Images, out: Path) -> None:
    """Write the lists of images, or compare them with those of a run.

    Raises:
        ValueError: If the run that is to go on has other images.
    """
    lists = {'images.txt': images.names}
    if images.labelled:
        lists['labelled.txt'] = [
            f'{n} {label}' for n, label in images.labelled
        ]
    for name, lines in lists.items():
        path = out / name
        if not path.is_file():
            write_text(path, '\n'.join(lines) + '\n')
            continue
        known = path.read_text(encoding='utf-8').splitlines()
        if known != lines and sorted(map(same_name, known)) == sorted(
            map(same_name, lines)
        ):
            # copied from or to a Mac, which writes names in another form
            names = {same_name(line): line for line in lines}
            known = lines = [names[same_name(line)] for line in known]
            write_text(path, '\n'.join(lines) + '\n')
        if known != lines:
            raise ValueError(
                f'--resume {out}: the images have changed since the run '
                f'began, {len(set(lines) - set(known))} are new and '
                f'{len(set(known) - set(lines))} are missing or cannot be '
                'read: restore them, or start anew with another --out'
            )
