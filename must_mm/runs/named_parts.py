"""Options for the parts that a recipe names, such as its mask or teacher.

A recipe puts them into lists, a pipeline or the hooks, by their name; in the
config that MMEngine reads, name and list know nothing of each other any more.
Of its other names, such as its epochs, no run knows anything.
"""

import copy
from collections.abc import Iterator
from inspect import signature

from mmengine.config import Config
from mmengine.runner import Runner

from ..engine.guards import BatchCheckHook

_READ = {
    *signature(Runner).parameters,
    # what it looks for in the whole config
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    # and this package
    BatchCheckHook.KEY,
    'bank_dataloader',
}


def merge_options(cfg: Config, options: dict) -> None:
    """Merge options into a config, named parts wherever a list has them.

    Args:
        cfg: The config, changed in place.
        options: Values by key with dots, such as ``'mask.mask_ratio'``.

    Raises:
        ValueError: If an option would change nothing: its key is not read,
            nor is it the name of a part that a list holds.
    """
    names = {key.partition('.')[0] for key in options}
    for name in sorted(names - _READ):
        _check_held(cfg, name)
    before = {
        name: copy.deepcopy(cfg[name])
        for name in names
        if isinstance(cfg.get(name), dict)
    }
    cfg.merge_from_dict(options)
    for name, part in before.items():
        _replace(cfg, part, cfg[name])


def _check_held(cfg: Config, name: str) -> None:
    """Raise unless a list that is read holds what has this name."""
    if name not in cfg:
        raise ValueError(
            f'--cfg-options {name}: no run reads a key of this name'
        )
    value = cfg[name]
    places = [
        place
        for key in sorted(_READ & cfg.keys())
        for place in _places(cfg[key], value, key)
    ]
    in_lists = [place for place in places if place.split('.')[-1].isdecimal()]
    if isinstance(value, dict) and in_lists:
        return
    hint = 'tools/print_config.py shows all'
    # other values are equal by chance, or went into some computation
    if places and type(value) not in (type(None), bool, float):
        hint = f'the same value stands in {", ".join(places)}'
    raise ValueError(
        f'--cfg-options {name}: this name was used up when {cfg.filename} '
        'was read, so that the run would not change. Set the keys that it '
        f'went into, here or in a config with this one as _base_: {hint}'
    )


def _places(value: object, wanted: object, key: str) -> Iterator[str]:
    """Keys, from ``key`` on, of what equals ``wanted``."""
    if value == wanted:
        yield key
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _places(entry, wanted, f'{key}.{name}')
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _places(entry, wanted, f'{key}.{index}')


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
