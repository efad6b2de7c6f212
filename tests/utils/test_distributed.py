"""Small tensors on their way to the device."""

from types import SimpleNamespace

import pytest
import torch

from must_mm.utils.distributed import to_device


def test_on_the_host_it_is_the_tensor_itself():
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device('cpu')) is tensor


@pytest.mark.parametrize('there', ['cpu', 'cuda'])
def test_a_gpu_gets_it_from_pinned_memory(there):
    """A stand-in for a tensor notes what happens to it."""
    calls = []

    def copy(device, non_blocking):
        calls.append(('to', device.type, non_blocking))

    def pin():
        calls.append('pin')
        return tensor

    tensor = SimpleNamespace(
        device=torch.device(there), pin_memory=pin, to=copy
    )
    to_device(tensor, torch.device('cuda'))
    assert calls[-1] == ('to', 'cuda', True)
    # what is there already cannot be pinned
    assert calls[:-1] == (['pin'] if there == 'cpu' else [])
