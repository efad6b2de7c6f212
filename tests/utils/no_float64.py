"""A stand-in for Apple's devices, which have no double precision."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class NoFloat64(TorchDispatchMode):
    """Refuses every operation that makes a tensor of float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(found):
            if (
                isinstance(value, torch.Tensor)
                and value.dtype == torch.float64
            ):
                raise TypeError(f'{func} makes a tensor of float64')
        return found
