"""Options for the parts that a recipe names, such as its mask or teacher.

A recipe puts them into lists, a pipeline or the hooks, by their name; in the
config that MMEngine reads, name and list know nothing of each other any more.
"""

import copy
from inspect import signature

from mmengine.config import Config
from mmengine.runner import Runner

_READ_BY_RUNNER = signature(Runner).parameters


def merge_options(cfg: Config, options: dict) -> None:
    """Merge options into a config, named parts wherever a list has them.

    Args:
        cfg: The config, changed in place.
        options: Values by key with dots, such as ``'mask.mask_ratio'``.

    Raises:
        ValueError: If a part has a name, but no list holds it.
    """
    names = {key.partition('.')[0] for key in options}
    before = {
        name: copy.deepcopy(cfg[name])
        for name in names
        if isinstance(cfg.get(name), dict)
    }
    cfg.merge_from_dict(options)
    for name, part in before.items():
        held = _replace(cfg, part, cfg[name])
        if not held and 'type' in part and name not in _READ_BY_RUNNER:
            raise ValueError(
                f'--cfg-options {name}...: no list of {cfg.filename} holds '
                f'{name} as it is, so the run would not change. Give the key '
                'of the place that is meant, such as custom_hooks.0...'
            )


def _replace(value: object, old: dict, new: dict) -> int:
    """Put ``new`` wherever a list inside ``value`` holds ``old``.

    Returns:
        How many times it did.
    """
    held = 0
    if isinstance(value, list):
        for index, entry in enumerate(value):
            if entry == old:
                value[index] = copy.deepcopy(new)
                held += 1
            else:
                held += _replace(entry, old, new)
    elif isinstance(value, (dict, Config)):
        held = sum(_replace(entry, old, new) for _, entry in value.items())
    return held
