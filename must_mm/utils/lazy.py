"""Modules that are imported when they are first used."""

import importlib.util
import sys
from types import ModuleType


def lazy_import(name: str) -> ModuleType:
    """Import a module at the first use of what it holds.

    For packages that take long and that most runs do without.

    Args:
        name: The module.

    Raises:
        ModuleNotFoundError: If there is none, at once.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f'no module named {name!r}', name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
