"""What a part of a config is, however its type is given."""

from collections.abc import Mapping

from mmengine.registry import Registry


def is_a(registry: Registry, part: Mapping | object, kind: type) -> bool:
    """Whether a part of a config is of a class.

    Args:
        registry: Where its type is looked up, such as ``'EMATeacherHook'``
            or ``'mmpretrain.EMATeacherHook'``; it may be a class as well.
        part: The part's config, or the part itself.
        kind: The class.
    """
    if not isinstance(part, Mapping):
        return isinstance(part, kind)
    found = part.get('type')
    if isinstance(found, str):
        found = registry.get(found)
    return isinstance(found, type) and issubclass(found, kind)
