"""A pretended device: on a CPU, what would a GPU make the host wait for?

Which tensors lie on the device is known by their storage: the weights, what
``.to(device)`` or a factory with ``device=`` returns, and all that is computed
from those. The rest is the host's. A ``torch.device`` is the pretended one, as
``tensor.device`` is; the text ``'cpu'`` is the host.
"""

import traceback
from collections import Counter
from pathlib import Path

import torch
from mmengine.hooks import Hook
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# the host has to know their result, or its shape
READING_OPERATIONS = {
    aten._local_scalar_dense, aten._unique2, aten.bincount, aten.equal,
    aten.is_nonzero, aten.masked_select, aten.nonzero, aten.unique_dim,
    aten.repeat_interleave.Tensor,
}  # fmt: skip
# on a CPU they need no operation
READING_METHODS = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist}


def _tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if torch.is_tensor(leaf)]


def _where() -> str:
    """File and function of the innermost line that is not torch's."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path != Path(__file__) and 'torch' not in path.parts:
            return f'{path.name}:{frame.name}'
    return '?'


class PretendedDevice(TorchDispatchMode):
    """Counts in ``found`` reads by the host, and mixes of host and device."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Counter()
        self._storages: dict[int, StorageWeakRef] = {}
        self._methods = _Methods(self)

    def __enter__(self):
        self._methods.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._methods.__exit__(*error)

    def put(self, tree) -> None:
        """Declare tensors the device's."""
        for tensor in _tensors(tree):
            reference = StorageWeakRef(tensor.untyped_storage())
            self._storages[reference.cdata] = reference

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is the device's."""
        return tensor.untyped_storage()._cdata in self._storages

    def note(self, what: str) -> None:
        """Count what happens at the line that runs."""
        self.found[f'{what} at {_where()}'] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = _tensors((args, kwargs))
        there = [tensor for tensor in given if self.holds(tensor)]
        if there:
            self._look(func, given, args)
        found = func(*args, **(kwargs or {}))
        if there:
            self.put(found)
        return found

    def _look(self, func, given: list[torch.Tensor], args) -> None:
        name = func.overloadpacket
        if func in READING_OPERATIONS or name in READING_OPERATIONS:
            self.note(f'read ({name})')
        if name is aten.index and any(
            tensor.dtype is torch.bool for tensor in _tensors(args[1])
        ):
            self.note('read (boolean index)')
        # a scalar of the host goes along with the call
        if any(t.ndim and not self.holds(t) for t in given):
            self.note(f'mixed devices ({name})')


class _Methods(TorchFunctionMode):
    """Sees what does not reach the dispatcher on a CPU."""

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in READING_METHODS and self.device.holds(args[0]):
            self.device.note(f'read ({func.__name__})')
        found = func(*args, **kwargs)
        options = (*args[1:], *kwargs.values())
        if func is torch.Tensor.to and any(
            option == 'cpu' for option in options if isinstance(option, str)
        ):
            if self.device.holds(args[0]):
                self.device.note('read (to)')
                found = found.clone()
        elif func is torch.Tensor.to and any(
            isinstance(option, torch.device) for option in options
        ):
            if not self.device.holds(args[0]):
                found = found.clone()  # on a CPU it is the tensor itself
            self.device.put(found)
        elif isinstance(kwargs.get('device'), torch.device) and not types:
            self.device.put(found)
        return found


class FirstHook(Hook):
    """Pretends from the first hook of an iteration on, until `last` ends."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.device = PretendedDevice()
        self.last = LastHook(self.device)

    def before_train(self, runner) -> None:
        model = runner.model
        self.device.put([*model.parameters(), *model.buffers()])

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.device.__enter__()


class LastHook(Hook):
    """Ends what :class:`FirstHook` begins, after all other hooks."""

    priority = 'LOWEST'

    def __init__(self, device: PretendedDevice) -> None:
        self.device = device

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        self.device.__exit__(None, None, None)
