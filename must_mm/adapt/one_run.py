"""One of several runs, as a process: ``one_run CONFIG FOLDER SEED``."""

import sys
from pathlib import Path

from mmengine.registry import init_default_scope

from .progress import into_file
from .side_by_side import TAKE
from .training import train

if __name__ == '__main__':
    init_default_scope('mmpretrain')
    config, folder, seed = sys.argv[1:]
    with into_file(Path(folder) / 'log.txt') as screen:
        checkpoint = train(Path(config), Path(folder), screen, int(seed))
        print(f'{TAKE}{checkpoint}', file=screen, flush=True)
