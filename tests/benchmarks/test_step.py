"""The plain step is MUST, the levers change no number, the tool runs."""

import argparse
import contextlib
import itertools
import json
import re
import runpy
import shutil
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models.utils import attention
from torch._dynamo.utils import counters

from benchmarks import contenders, levers, measure
from benchmarks.launches import count_operations
from benchmarks.measure import matrix_rate, peak_memory
from benchmarks.plain_must import (
    TERMS,
    PlainMUST,
    PlainStep,
    losses,
)
from must_mm.engine.late_scalars import LateRuntimeInfoHook
from must_mm.models.must import MUST
from tests.long.replay import HEAD_WIDTH, replay, replay_config
from tests.long.replay import main as replay_main
from tests.tiny import DATA, ROOT

TOOL = ROOT / 'tools' / 'benchmark.py'


def plain_replay(name):
    """Replay a recording with the plain step; errors relative to it."""
    data = np.load(DATA / f'{name}.npz')
    rec = json.loads(str(data['config']))
    student = PlainMUST(
        *(rec[key] for key in ('image', 'patch', 'width', 'layers')),
        heads=max(1, rec['width'] // HEAD_WIDTH),
        embed=rec['embed'],
        classes=rec['classes'],
    )
    student.load_state_dict(
        {
            key[len('init/') :]: torch.from_numpy(data[key])
            for key in data.files
            if key.startswith('init/')
        }
    )
    step = PlainStep(
        student,
        threshold=rec['conf_threshold'],
        w_fair=rec['w_fair'],
        w_align=rec['w_align'],
    )
    views = [
        torch.from_numpy(data[key]).float()
        for key in ('weak', 'strong', 'mask')
    ]
    for number, expected in enumerate(data['log']):
        if number % rec['steps'] == 0:
            step.past = None
        for group in step.optimizer.param_groups:
            group['lr'] = expected[7] * group['scale']
        step.decay = float(expected[6])
        found = step(*(view[number] for view in views))
        yield [found[name] for name in TERMS], expected[:4]


@pytest.mark.parametrize('name', ['must_basic', 'must_many_classes'])
def test_plain_step_is_the_published_one(name):
    """Float32 over several steps of AdamW, as for our own replay."""
    pairs = list(plain_replay(name))
    assert len(pairs) >= 4
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_plain_step_without_a_confident_sample():
    student = PlainMUST(16, 8, 64, 1, 1, 8, 4)
    views = torch.randn(2, 3, 3, 16, 16)
    mask = torch.ones(3, 2, 2)
    terms, _ = losses(student, student, *views, mask, threshold=1.0)
    assert terms['loss_st'] == 0 and terms['loss_mim'] > 0


FAST = {
    'model.decode': 'masked',
    'model.type': 'MUST',
    'model.backbone.type': 'LeanVisionTransformer',
    'optim_wrapper.optimizer.fused': True,
    'optim_wrapper.constructor': 'LayerDecayConstructor',
    'custom_hooks.4.interval': 10,
    'default_hooks.runtime_info': dict(type='LateRuntimeInfoHook'),
}
SLOW = {
    'model.decode': 'all',
    'model.type': 'MUSTWithoutInferenceMode',
    'model.backbone.type': 'VisionTransformer',
    'optim_wrapper.optimizer.fused': False,
    'optim_wrapper.constructor': 'LearningRateDecayOptimWrapperConstructor',
    'custom_hooks.4.interval': 1,
    'default_hooks.runtime_info': dict(type='RuntimeInfoHook'),
}


@pytest.mark.parametrize('name', ['must_basic', 'must_many_classes'])
@pytest.mark.parametrize('options', [FAST, SLOW], ids=['fast', 'slow'])
def test_levers_keep_the_replayed_numbers(name, options):
    (rows,) = replay(DATA / f'{name}.npz', options)
    assert len(rows) == 17
    assert all(row.error <= 1e-4 for row in rows), rows


def test_attention_without_sdpa_keeps_the_replayed_numbers(monkeypatch):
    """MMPretrain's own formula, which the lever replaces."""
    monkeypatch.setattr(
        attention,
        'scaled_dot_product_attention',
        attention.scaled_dot_product_attention_pyimpl,
    )
    (rows,) = replay(DATA / 'must_basic.npz')
    assert all(row.error <= 1e-4 for row in rows), rows


RECOMPUTE = dict(type='RecomputeBlocksHook')
# the recipes' hook, which asks for 'cuda', as it is on a GPU
COMPILE = dict(type='CompileBlocksHook', device='cpu')
#: All of the compiler but the code that it writes, which takes minutes.
TRACE = dict(COMPILE, options=dict(backend='aot_eager'))


@pytest.mark.parametrize(
    'hooks',
    [
        [RECOMPUTE],
        [RECOMPUTE, TRACE],
        pytest.param(
            [COMPILE],
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    not shutil.which('c++'), reason='no C++ compiler'
                ),
            ],
        ),
    ],
    ids=['recomputed', 'recomputed and traced', 'compiled'],
)
def test_hooks_on_blocks_keep_the_replayed_numbers(hooks, tmp_path):
    """Beside all the other levers, which the recipes have."""
    path = DATA / 'must_basic.npz'
    cfg = replay_config(path, str(tmp_path))
    asked, compiled = dict(COMPILE, device='cuda'), counters['stats']
    assert asked in cfg.custom_hooks
    torch.compiler.reset()
    before = compiled['unique_graphs']
    others = [hook for hook in cfg.custom_hooks if hook != asked]
    (rows,) = replay(path, dict(custom_hooks=others + hooks))
    traced = any(hook['type'] == 'CompileBlocksHook' for hook in hooks)
    assert (compiled['unique_graphs'] > before) == traced
    assert all(row.error <= 1e-4 for row in rows), rows


def operations(*wanted) -> int:
    """Operations of the quickstart's step with some levers."""
    cfg = contenders.read_config('quickstart', 16, 5)
    levers.slow(cfg)
    for lever in wanted:
        lever(cfg)
    return count_operations(contenders.ours(cfg, 2, None, 'cpu'))


def test_levers_launch_less():
    """Counts, exact on any machine; each operation is a kernel or more."""
    slow = operations()
    lean = operations(levers.lean_transformer)
    # of QuickGELU, and of the gradients of queries, keys and values, less what
    # choosing the tokens that are read adds
    assert lean <= slow - 20
    assert operations(*levers.DEFAULT_LEVERS.values()) < lean


def flatten(value, prefix=''):
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = {prefix: value} if not items else {}
    for key, part in items:
        found |= flatten(part, f'{prefix}.{key}')
    return found


def test_levers_are_measured_alone():
    """Each changes one thing of the slow config, and all make the recipe."""
    recipe = contenders.read_config('quickstart', None, None)
    slow = Config(recipe.to_dict())
    levers.slow(slow)
    whole = Config(slow.to_dict())
    for name, lever in levers.DEFAULT_LEVERS.items():
        alone = Config(slow.to_dict())
        lever(alone)
        lever(whole)
        before, after = flatten(slow.to_dict()), flatten(alone.to_dict())
        changed = {
            key
            for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)
        }
        assert 1 <= len(changed) <= 2, (name, changed)
    defaults = {'.model.decode': 'masked'}
    assert defaults | flatten(recipe.to_dict()) == flatten(whole.to_dict())


def test_scalars_are_read_as_in_training(monkeypatch):
    """Before they are logged, not at every step: a GPU would be waited for."""
    reads, read = [], LateRuntimeInfoHook._read
    monkeypatch.setattr(
        LateRuntimeInfoHook,
        '_read',
        lambda *args: reads.append(done) or read(*args),
    )
    monkeypatch.setattr(contenders, 'LOG_INTERVAL', 4)
    init_default_scope('mmpretrain')
    cfg = contenders.read_config('quickstart', None, None)
    step = contenders.ours(cfg, 2, None, 'cpu')
    for done in range(8):  # noqa: B007
        assert 'pseudo_label_acc' in step()  # with labels, as in training
    assert reads == [3, 7]


@pytest.mark.parametrize('model', ['quickstart', 'ViT-B-32'])
def test_a_step_reads_nothing_from_the_device(monkeypatch, model):
    """Nor does it mix devices: a 'meta' device has no values to be read.

    Until HealthHook reads those of ten steps at once.
    """
    init_default_scope('mmpretrain')
    cfg = contenders.read_config(model, None, None)
    # neither knows this device
    cfg.optim_wrapper.optimizer.fused = False
    monkeypatch.setattr(
        torch, 'autocast', lambda *_, **__: contextlib.nullcontext()
    )
    step = contenders.ours(cfg, 2, None, 'meta')
    for _ in range(9):
        terms = step()
        assert {'loss', 'loss_mim', 'loss_align', 'conf_ratio'} <= set(terms)
        assert all(value.is_meta for value in terms.values())
    with pytest.raises((NotImplementedError, RuntimeError), match='meta'):
        step()


def test_plain_step_holds_nothing_of_ours(monkeypatch):
    """Its memory is compared."""
    init_default_scope('mmpretrain')
    cfg = contenders.read_config('quickstart', None, None)
    monkeypatch.setattr(MUST, '__init__', None)
    terms = contenders.plain(cfg, 2, None, 'cpu')()
    assert set(terms) == set(TERMS)


def run_tool(monkeypatch, capsys, line):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *line.split()])
    runpy.run_path(str(TOOL), run_name='__main__')
    return capsys.readouterr().out


def rows_of(printed):
    return [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in printed.splitlines()
        if line.startswith('| ') and not line.startswith('| version')
    ]


def test_step_table(monkeypatch, capsys):
    printed = run_tool(
        monkeypatch,
        capsys,
        'step --model quickstart --batch 4 --rounds 2 --repeat 1 '
        '--warmup 1 --amp bfloat16 --checkpointing --no-memory',
    )
    assert 'torch ' in printed and 'bfloat16' in printed
    assert [row[0] for row in rows_of(printed)] == [
        'plain, float32',
        'plain, autocast to bfloat16',
        'must_mm, bfloat16',
    ]
    for row in rows_of(printed):
        assert float(row[1]) > 0 and row[4] == 'nan'


def test_peak_memory_is_that_of_a_step():
    """A step that fills 64 MB takes as much, and not what it forgets."""
    args = argparse.Namespace(no_memory=False, device='cpu')
    assert 60e6 < peak_memory(wasteful, args) < 100e6


def wasteful():
    """Build a step that needs 64 MB; building it takes three times that."""
    torch.ones(48, 2**20)
    return lambda: torch.ones(16, 2**20)


def test_matrix_rate_is_capped_by_time(monkeypatch):
    """By a clock on which each product takes one second more."""
    sizes, clock = [], itertools.count()
    for name in ('perf_counter', 'process_time'):
        monkeypatch.setattr(measure.time, name, lambda: float(next(clock)))
    randn = torch.randn
    monkeypatch.setattr(
        torch, 'randn', lambda *size, **_: sizes.append(size) or randn(*size)
    )
    # three products in a second of the clock's: 32 for the next size
    assert matrix_rate('cpu', torch.float32, 31) == 2 * 256**3 / (1 / 3)
    assert sizes == [(256, 256)]


def test_lever_table(monkeypatch, capsys):
    printed = run_tool(
        monkeypatch,
        capsys,
        'step --model quickstart --batch 2 --rounds 1 --repeat 1 '
        '--warmup 1 --image 16 --classes 5 --levers --no-memory '
        '--without-optional',
    )
    names = [row[0] for row in rows_of(printed)]
    assert names == ['lever', *levers.DEFAULT_LEVERS, 'all']


SMALL = '--model quickstart --batch 2 --rounds 1 --repeat 1 --warmup 1'


@pytest.mark.slow
def test_commands_of_the_page(monkeypatch, capsys):
    """At a small size, on this machine's device."""
    page = (ROOT / 'benchmarks' / 'performance.md').read_text()
    lines = re.findall(r'^python tools/benchmark\.py (step.*)$', page, re.M)
    assert len(lines) >= 4
    for line in lines:
        for slow in ('--profile', '--compile'):  # these have their own test
            line = line.replace(slow, '')
        rows = rows_of(
            run_tool(
                monkeypatch,
                capsys,
                f'{line} {SMALL} --threads 1 --no-memory --without-optional',
            )
        )
        assert len(rows) >= 2, line
    for name in re.findall(r'^python tools/train\.py (\S+)', page, re.M):
        # trained by test_configs.py
        assert (ROOT / name).match('configs/must/quickstart_*.py')
        assert (ROOT / name).is_file()
    (line,) = re.findall(r'^python -m tests\.long\.replay (.*)$', page, re.M)
    monkeypatch.chdir(ROOT)
    assert replay_main(line.split()) == 0


def test_profile(monkeypatch, capsys):
    printed = run_tool(
        monkeypatch,
        capsys,
        'step --model quickstart --batch 2 --repeat 1 --warmup 1 --profile',
    )
    assert 'aten::' in printed and 'Self CPU' in printed


@pytest.mark.parametrize(
    'line, message',
    [
        ('step --batch 0', '--batch must be at least 1'),
        ('step --threads 0', '--threads must be at least 1'),
        ('step --levers --compile', 'leave them out'),
        ('step --model ViT-X', 'invalid choice'),
    ],
)
def test_errors(monkeypatch, capsys, line, message):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *line.split()])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert message in capsys.readouterr().err
