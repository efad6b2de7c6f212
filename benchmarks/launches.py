"""How many kernels a step asks for, counted without a GPU."""

from collections.abc import Callable

from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counts operations that compute: on a GPU each launches a kernel or so.

    Views are left out, which launch none; what is fused in one operation
    (an optimizer's step, a list of tensors) counts once. It sees what
    PyTorch dispatches in forward, backward, optimizer and hooks, and nothing
    within compiled code, so that it tells eager steps apart.

    Attributes:
        count: Operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def count_operations(step: Callable[[], object]) -> int:
    """Count the operations of the second of two steps."""
    step()  # the first one allocates states
    with Operations() as operations:
        step()
    return operations.count
