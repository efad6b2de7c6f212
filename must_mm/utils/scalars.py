"""What MMEngine has logged of a run, read back."""

import json
from pathlib import Path


def read_scalars(work_dir: str | Path) -> list[list[dict]]:
    """Read ``scalars.json`` of every start of a run.

    Args:
        work_dir: Folder of the run.

    Returns:
        For each start, oldest first, its lines: scalars by name.

    Raises:
        FileNotFoundError: If the work dir holds no run.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'there is no finished run in {work_dir}')
    return [
        [
            json.loads(line)
            for line in file.read_text(encoding='utf-8').splitlines()
        ]
        for file in files
    ]
