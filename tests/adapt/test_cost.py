"""The cost of a run: what is counted, and what it adds up to."""

import pytest

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


def test_this_machine():
    machine = this_machine()
    assert machine.cores >= 1 and machine.memory > 2**20
    assert machine.device in ('cpu', 'cuda')
