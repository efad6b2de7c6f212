"""Every rank resumes from rank 0's checkpoint, whatever its own disk holds."""

import os

import pytest
import torch
import torch.distributed as dist

from must_mm.checkpoints import share as module
from must_mm.checkpoints.plain import load_local, save_tensors
from must_mm.checkpoints.share import fingerprint, share
from tests.ranks import on_ranks

NAME = 'epoch_1.pth'


def content(value: float) -> dict:
    return dict(state_dict=dict(x=torch.full((1000,), value)), meta={})


def test_fingerprint_tells_contents_apart(tmp_path):
    for name, value in (('a', 1.0), ('b', 1.0), ('c', 2.0)):
        save_tensors(content(value), tmp_path / name)
    a, b, c = (fingerprint(tmp_path / name) for name in 'abc')
    assert a == b != c
    assert (tmp_path / 'a').stat().st_size == (tmp_path / 'c').stat().st_size
    assert fingerprint(tmp_path / 'none') is None


def _one_rank(rank: int, folder) -> None:
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=4,
    )
    module.CHUNK = 1000  # several chunks, and a rest
    os.chdir(folder / str(rank))
    share(NAME)
    torch.save(load_local(NAME), 'found.pt')
    dist.destroy_process_group()


@pytest.mark.dist
def test_ranks_without_the_file_or_with_an_older_one_get_it(tmp_path):
    for rank in range(4):
        (tmp_path / str(rank)).mkdir()
    save_tensors(content(7.0), tmp_path / '0' / NAME)
    save_tensors(content(7.0), tmp_path / '1' / NAME)
    save_tensors(content(5.0), tmp_path / '2' / NAME)  # of an earlier run
    on_ranks(_one_rank, tmp_path, ranks=4)
    for rank in range(4):
        found = torch.load(tmp_path / str(rank) / 'found.pt')
        assert torch.equal(found['state_dict']['x'], torch.full((1000,), 7.0))
    # nothing is written beside what was there
    assert not (tmp_path / '3' / NAME).exists()
