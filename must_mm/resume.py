"""Which checkpoint a run goes on from: the newest one that is whole."""

from pathlib import Path

from .checkpoint import load_tensors

POINTER = 'last_checkpoint'
_PARTS = ('meta', 'state_dict', 'message_hub', 'optimizer')


def check_resumable(path: str | Path) -> None:
    """Refuse what a run cannot be resumed from.

    Args:
        path: A checkpoint on a local disk.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds no whole state of a run.
    """
    content = load_tensors(path)
    wrong = [
        name for name in _PARTS if not isinstance(content.get(name), dict)
    ]
    wrong += [
        f'meta.{name}'
        for name in ('epoch', 'iter')
        if 'meta' not in wrong
        and not isinstance(content['meta'].get(name), int)
    ]
    if wrong:
        raise ValueError(
            f'{path} cannot be resumed from, it lacks {", ".join(wrong)} of a '
            'run. To start from its weights, set load_from instead of --resume'
        )


def is_remote(path: str) -> bool:
    """Whether MMEngine fetches the file, as from ``s3://``."""
    return '://' in path


def find_resumable(work_dir: str | Path) -> tuple[str | None, list[str]]:
    """Find the newest checkpoint of a run that is whole.

    ``last_checkpoint`` alone does not tell: a run may be killed before it is
    updated, and the file that it names may be damaged or gone.

    Args:
        work_dir: Folder of the run.

    Returns:
        The checkpoint, ``None`` where the run has not written any; and for
        each newer file why it was skipped.

    Raises:
        ValueError: If there are checkpoints but none is whole.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / POINTER
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if is_remote(named):
        return named, []
    folders = {work_dir, Path(named).parent if named else work_dir}
    files = {file for folder in folders for file in folder.glob('*.pth')}
    skipped = []
    if named and not Path(named).is_file():
        skipped.append(f'{named}, which {pointer} names, is gone')
    for file in sorted(
        files, key=lambda file: file.stat().st_mtime_ns, reverse=True
    ):
        try:
            check_resumable(file)
        except ValueError as error:
            skipped.append(str(error))
        else:
            return str(file), skipped
    if skipped:
        raise ValueError(
            f'--resume: no checkpoint in {work_dir} can be resumed from: '
            + '; '.join(skipped)
        )
    return None, []
