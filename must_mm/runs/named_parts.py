"""Options for the parts that a recipe names, such as its mask or teacher.

A recipe puts them into lists, a pipeline or the hooks, by their name; in the
config that MMEngine reads, name and list know nothing of each other any more.
"""

import copy

from mmengine.config import Config


def merge_options(cfg: Config, options: dict) -> None:
    """Merge options into a config, named parts wherever a list has them.

    Args:
        cfg: The config, changed in place.
        options: Values by key with dots, such as ``'mask.mask_ratio'``.
    """
    names = {key.partition('.')[0] for key in options}
    before = {
        name: copy.deepcopy(cfg[name])
        for name in names
        if isinstance(cfg.get(name), dict)
    }
    cfg.merge_from_dict(options)
    for name, part in before.items():
        _replace(cfg, part, cfg[name])


def _replace(value: object, old: dict, new: dict) -> None:
    """Put ``new`` wherever a list inside ``value`` holds ``old``."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            if entry == old:
                value[index] = copy.deepcopy(new)
            else:
                _replace(entry, old, new)
    elif isinstance(value, (dict, Config)):
        for _, entry in value.items():
            _replace(entry, old, new)
