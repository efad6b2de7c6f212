"""The cost of a run: what is counted, and what it adds up to."""

import os

import pytest
import torch

from must_mm.adapt.config import Data, clip_config, find_tower
from must_mm.adapt.cost import Cost, measure, this_machine
from must_mm.adapt.settings import Machine, choose
from tests.tiny import CLASSES


def test_what_is_counted(clip, photos, tmp_path):
    tower = find_tower('toy_clip')
    data = Data(photos, tmp_path / 'x.txt', 24, list(CLASSES))
    settings = choose(24, tower, Machine('cpu', 2**33, 1), 0, 1)
    cfg = clip_config(data, clip, tower, settings)
    paths = [str(path) for path in sorted((photos / 'ant').glob('*.png'))]
    cost = measure(
        cfg['model'], cfg['train_pipeline'], cfg['test_pipeline'], paths,
        seconds=0.01,
    )  # fmt: skip
    # two blocks of 12 * 32 ** 2 weights in the teacher, four times as much
    # in the student: the bulk of it
    blocks = 2 * 12 * 32**2 * 4
    assert 5 * blocks < cost.fixed < 10 * blocks
    # 17 tokens of 32 channels: about twenty of such a map in each block
    one_map = 17 * 32 * 4
    assert 2 * 10 * one_map < cost.per_image < 2 * 60 * one_map
    assert cost.step > 0 and cost.load > 0 and cost.load_test > 0


def test_sums():
    cost = Cost(fixed=100, per_image=10, step=0.1, load=0.2, load_test=0.05)
    assert cost.memory(8) == 180
    # 3 epochs of 10 images, and 2 predictions of them
    assert cost.seconds(10, 3, workers=0) == pytest.approx(9 + 1.5)
    assert cost.seconds(10, 3, workers=1) == pytest.approx(6 + 1)
    assert cost.seconds(10, 3, workers=8) == pytest.approx(3 + 0.5)


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_this_machine(monkeypatch, device):
    """Cores that this process may use, and memory that is free."""
    there = device == 'cuda'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: there)
    sizes = (6 * 2**30, 8 * 2**30)  # free, in all
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda *_: sizes)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 3, 5})
    machine = this_machine()
    assert machine.device == device and machine.cores == 3
    if there:
        assert machine.memory == 6 * 2**30
    else:
        pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        assert 2**20 < machine.memory <= pages
