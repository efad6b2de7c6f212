"""The cost of a run: what is counted, and what it adds up to."""

import os
from dataclasses import replace

import pytest
import torch

from must_mm.adapt import cost as cost_module
from must_mm.adapt.clip_config import clip_config, find_tower
from must_mm.adapt.config_parts import Data
from must_mm.adapt.cost import Cost, measure, precision, this_machine
from must_mm.adapt.plan import Images, make_plan
from must_mm.adapt.settings import Machine, batch_size, choose
from must_mm.adapt.task import Task
from must_mm_cli.options import Options
from tests.tiny import CLASSES


@pytest.fixture
def cfg(clip, photos, tmp_path):
    tower = find_tower('toy_clip')
    data = Data(photos, tmp_path / 'x.txt', 24, list(CLASSES))
    settings = choose(24, tower, Machine('cpu', 2**33, 1), 0, 1)
    return clip_config(data, clip, tower, settings)


def test_what_is_counted(cfg, photos):
    paths = [str(path) for path in sorted((photos / 'ant').glob('*.png'))]
    cost = measure(
        cfg['model'], cfg['train_pipeline'], cfg['test_pipeline'], paths,
        memory=2**33, seconds=0.01,
    )  # fmt: skip
    # two blocks of 12 * 32 ** 2 weights in the teacher, four times as much
    # in the student: the bulk of it
    blocks = 2 * 12 * 32**2 * 4
    assert 5 * blocks < cost.fixed < 10 * blocks
    # 17 tokens of 32 channels: about twenty of such a map in each block
    one_map = 17 * 32 * 4
    assert 2 * 10 * one_map < cost.per_image < 2 * 60 * one_map
    assert cost.step > 0 and cost.load > 0 and cost.load_test > 0


def test_labels_that_wait_for_the_start_do_not_stop_it(cfg, photos):
    cfg['model']['pseudo_labels']['anchor'] = dict()
    paths = [str(photos / 'ant' / '0.png')]
    measure(
        cfg['model'], cfg['train_pipeline'], cfg['test_pipeline'], paths,
        memory=2**33, seconds=0.01,
    )  # fmt: skip


class Fake:
    """Steps that take what is said, and fail beyond ``limit`` images."""

    limit, asked = 64, []

    def __init__(self, *_args):
        Fake.asked = []

    def fixed(self):
        return 1000

    def __call__(self, count):
        Fake.asked.append(count)
        if count > Fake.limit:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return 0.001 * count, 200 + 10 * count


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(cost_module, '_Steps', Fake)
    monkeypatch.setattr(cost_module, '_load', lambda *_: ([], 0.0))
    monkeypatch.setattr(Fake, 'limit', 64)
    return Fake


def measured(memory: int, **options) -> Cost:
    return measure({}, [], [], [], memory=memory, **options)


def test_what_all_steps_take_is_told_from_what_images_take(fake):
    cost = measured(2**40)
    assert (cost.fixed, cost.per_image) == (1200, 10)
    assert cost.step == pytest.approx(0.001) and cost.too_many is None
    assert fake.asked == [2, 2, 4, 8, 16, 32, 64]


def test_never_more_than_is_free(fake):
    """0.8 of 1800 bytes hold 1000 and four images of 110, or 24 of 10."""
    measured(1800)
    assert fake.asked == [2, 2, 4, 8, 16]
    measured(1800, seconds=0.007)
    assert fake.asked == [2, 2, 4]


def test_out_of_memory_is_an_answer(fake):
    fake.limit = 7
    cost = measured(2**40)
    assert cost.too_many == 8 and fake.asked == [2, 2, 4, 8]
    assert batch_size(1000, 2**40, cost.fixed, cost.per_image, 8) == 4
    fake.limit = 1
    with pytest.raises(ValueError, match='--model: .* GiB .* smaller model'):
        measured(2**40)


@pytest.mark.parametrize(
    'wrapper, dtype',
    [
        (dict(type='OptimWrapper'), None),
        (dict(type='AutocastOptimWrapper'), torch.bfloat16),
        (dict(type='AmpOptimWrapper'), torch.float16),
        (dict(type='AmpOptimWrapper', dtype='bfloat16'), torch.bfloat16),
    ],
)
def test_the_precision_of_the_run(wrapper, dtype):
    assert precision(wrapper) is dtype


def costs(monkeypatch, **by_recompute: Cost) -> None:
    def give(*_args):
        found = by_recompute['recomputed' if _args[-1] else 'whole']
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr('must_mm.adapt.plan.measure', give)


def planned(options, tmp_path):
    given = {**options, 'classes': list(CLASSES), 'images': '.'}
    del given['epochs']
    images = Images([f'{i}.png' for i in range(100)], [], {})
    task = Task(Options(**given), list(CLASSES), ['a {}.'], None, [])
    plan = make_plan(task, images, tmp_path)
    return plan, plan.describe(task, images)


def test_blocks_are_recomputed_before_the_batch_shrinks(
    options, tmp_path, monkeypatch
):
    gib = 2**30
    machine = Machine('cpu', 10 * gib, 2)
    monkeypatch.setattr('must_mm.adapt.plan.this_machine', lambda: machine)
    whole = Cost(gib, gib // 10, 0.1, 0.01, 0.01)  # 0.8 of 10 GiB hold 70
    spared = Cost(gib, gib // 100, 0.13, 0.01, 0.01)
    costs(monkeypatch, whole=whole, recomputed=ValueError('not asked for'))
    plan, words = planned(options, tmp_path)
    assert plan.cost is whole and 'recomputed' not in words['expected memory']
    dear = replace(whole, per_image=gib // 5)
    costs(monkeypatch, whole=dear, recomputed=spared)
    plan, words = planned(options, tmp_path)
    assert plan.cost is spared
    assert plan.cfg['train_dataloader']['batch_size'] == 64
    hooks = [hook['type'] for hook in plan.cfg['custom_hooks']]
    assert 'RecomputeBlocksHook' in hooks
    assert '32 images would fit' in words['expected memory']
    assert 'takes 1.30 times as long' in words['expected memory']
    # not worth it where no more images fit
    costs(monkeypatch, whole=dear, recomputed=dear)
    plan, words = planned(options, tmp_path)
    assert plan.cfg['train_dataloader']['batch_size'] == 32
    assert 'recomputed' not in words['expected memory']
    costs(monkeypatch, whole=ValueError('--model'), recomputed=spared)
    _, words = planned(options, tmp_path)
    assert 'or no two images would fit' in words['expected memory']


def test_compiled_on_a_gpu_where_it_pays(clip, tmp_path):
    def hooks(images: int, device: str) -> list[str]:
        machine = Machine(device, 2**33, 1, device == 'cuda')
        tower = find_tower('toy_clip')
        settings = choose(images, tower, machine, 0, 1)
        data = Data(tmp_path, tmp_path / 'x.txt', images, list(CLASSES))
        cfg = clip_config(data, clip, tower, settings)
        return [hook['type'] for hook in cfg['custom_hooks']]

    assert 'CompileBlocksHook' in hooks(10**5, 'cuda')
    assert 'CompileBlocksHook' not in hooks(100, 'cuda')
    assert 'CompileBlocksHook' not in hooks(10**5, 'cpu')


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
    from must_mm.utils import machine as module

    monkeypatch.setattr(module, 'get_device', lambda: device)
    sizes = (6 * 2**30, 8 * 2**30)  # free, in all
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda *_: sizes)
    monkeypatch.setattr(module, 'cgroup_cores', lambda: None)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 3, 5})
    machine = this_machine()
    assert machine.device == device and machine.cores == 3
    if device == 'cuda':
        assert machine.memory == 6 * 2**30
    else:
        pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        assert 2**20 < machine.memory <= pages
