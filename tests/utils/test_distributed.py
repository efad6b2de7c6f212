"""One process among several; tensors to a device; whole weights."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from must_mm.utils.distributed import (
    check_whole_weights,
    from_main_process,
    to_device,
)
from tests.ranks import on_ranks


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


def _one_rank(rank: int, folder) -> None:
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=2,
    )
    found = [from_main_process(lambda: ('of rank', rank))]

    def fail():
        raise KeyError(f'at rank {rank}')

    try:
        from_main_process(fail)
    except Exception as error:
        found.append(f'{type(error).__name__}: {error}')
    (folder / f'{rank}.txt').write_text(repr(found))
    dist.destroy_process_group()


@pytest.mark.dist
def test_rank_0_decides_and_all_fail_together(tmp_path):
    on_ranks(_one_rank, tmp_path)
    zero, one = (eval((tmp_path / f'{r}.txt').read_text()) for r in (0, 1))
    assert zero == [('of rank', 0), "KeyError: 'at rank 0'"]
    assert one[0] == ('of rank', 0)
    assert one[1].startswith('RuntimeError: rank 0 failed: KeyError')


def test_one_process_decides_alone():
    assert from_main_process(lambda: 7) == 7


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


def test_sharded_weights_are_refused(process_group):
    """FSDP2; the wrapper of FSDP, which needs a GPU, is known by its class."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    check_whole_weights(model)
    mesh = init_device_mesh('cpu', (1,))
    fully_shard(model, mesh=mesh)
    with pytest.raises(ValueError, match=r'sharded.*RecomputeBlocksHook'):
        check_whole_weights(model)
