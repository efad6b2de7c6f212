"""Recordings with something changed, which a replay has to see."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.tiny import DATA

Change = Callable[[dict[str, np.ndarray]], None]


def perturbed(folder: Path, change: Change, name: str) -> Path:
    """A copy of a recording with something changed."""
    with np.load(DATA / f'{name}.npz') as data:
        content = {key: data[key].copy() for key in data.files}
    change(content)
    path = folder / 'perturbed.npz'
    np.savez(path, **content)
    return path


def config_change(**changes) -> Change:
    """Other values of settings that a recording states."""

    def change(content):
        config = json.loads(str(content['config']))
        assert changes.keys() <= config.keys()
        content['config'] = np.array(json.dumps({**config, **changes}))

    return change
