"""Configs from files that others have made: names of parts, never code.

MMEngine's registries take ``type='os.system'`` for an import path: building
a config runs whatever function it names.
"""

from pathlib import Path

from mmengine.registry import Registry
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS

_SCOPES = ('mmpretrain.', 'mmengine.', 'mmcv.')


def check_types(config: object, path: str | Path) -> None:
    """Raise unless a config names registered parts alone.

    Args:
        config: Plain data: a config or a part of one.
        path: The file that it is from, for the error.

    Raises:
        ValueError: If a ``type`` is not the name of a registered part.
    """
    if isinstance(config, dict):
        if 'type' in config and not _is_registered(config['type']):
            raise ValueError(
                f'{path} describes a model with a part that MMPretrain does '
                f'not know: type={config["type"]!r}. Only names of registered '
                'parts are taken from a file, since any other could run code'
            )
        config = config.values()
    elif not isinstance(config, (list, tuple)):
        return
    for value in config:
        check_types(value, path)


def _is_registered(name: object) -> bool:
    if not isinstance(name, str):
        return False
    for scope in _SCOPES:
        name = name.removeprefix(scope)
    return any(
        name in registry.module_dict
        for root in (MODELS, TRANSFORMS, DATASETS)
        for registry in _with_parents(root)
    )


def _with_parents(registry: Registry | None) -> list[Registry]:
    if registry is None:
        return []
    registry.import_from_location()
    return [registry, *_with_parents(registry.parent)]
