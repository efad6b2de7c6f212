"""Running statistics of batch norms, of all ranks together."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from must_mm.engine.batch_norm import BatchNormHook
from tests.ranks import on_ranks

RANKS = 2


def networks() -> nn.Sequential:
    """One that trains, and one that is frozen, as a teacher is."""
    return nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval())


def images(step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, generator=generator) * 3 + step


def _one_rank(rank: int, folder) -> None:
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=RANKS,
    )
    model = networks()
    model[1].running_mean += rank  # nobody's business
    for step in range(3):
        model[0](images(step)[rank::RANKS])
        BatchNormHook().after_train_iter(SimpleNamespace(model=model), step)
    torch.save(model.state_dict(), folder / f'{rank}.pth')
    dist.destroy_process_group()


@pytest.mark.dist
def test_ranks_have_the_statistics_of_all(tmp_path):
    """The mean is that of one process; the variance that within the ranks."""
    on_ranks(_one_rank, tmp_path, ranks=RANKS)
    zero, one = (torch.load(tmp_path / f'{rank}.pth') for rank in range(RANKS))
    whole, parts = networks()[0], [networks()[0] for _ in range(RANKS)]
    for step in range(3):
        whole(images(step))
        for rank, part in enumerate(parts):
            part(images(step)[rank::RANKS])
    variance = sum(part.running_var for part in parts) / RANKS
    for found in (zero, one):
        torch.testing.assert_close(found['0.running_mean'], whole.running_mean)
        torch.testing.assert_close(found['0.running_var'], variance)
    assert not torch.equal(parts[0].running_mean, parts[1].running_mean)
    assert not torch.equal(zero['1.running_mean'], one['1.running_mean'])


def test_one_process_has_nothing_to_average():
    model = networks()
    before = {
        name: value.clone() for name, value in model.state_dict().items()
    }
    BatchNormHook().after_train_iter(SimpleNamespace(model=model), 0)
    assert all(
        torch.equal(value, before[name])
        for name, value in model.state_dict().items()
    )
