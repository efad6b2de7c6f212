"""What systems and programs leave in folders, which is no one's image."""

_NAMES = frozenset(
    name.casefold()
    for name in (
        '__MACOSX',  # in archives made on a Mac
        '__pycache__',
        '@eaDir',  # Synology
        '@Recycle',  # QNAP
        '#recycle',
        '$RECYCLE.BIN',
        'RECYCLER',
        'System Volume Information',
        'lost+found',
        'Thumbs.db',
        'ehthumbs.db',
        'desktop.ini',
        'Icon\r',
    )
)


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden or the system's.

    Args:
        name: Its own name, without folders.
    """
    return name.startswith('.') or name.casefold() in _NAMES
