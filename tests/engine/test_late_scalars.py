"""Scalars read late are the scalars read at once."""

import math
from types import SimpleNamespace

import pytest
import torch

from must_mm.engine.late_scalars import LateRuntimeInfoHook, LateScalars
from must_mm.utils.scalars import read_scalars
from tests.tiny import train


def test_read_in_order_and_forgotten():
    late = LateScalars()
    late.add(dict(a=torch.tensor(0.5), b=2.0))
    late.add({})
    late.add(dict(c=torch.tensor([3])))
    assert len(late) == 3
    assert late.read() == [dict(a=0.5, b=2.0), {}, dict(c=3.0)]
    assert late.read() == [] and len(late) == 0


def read_logs(work_dir):
    (lines,) = read_scalars(work_dir)
    return [
        {name: value for name, value in line.items() if 'time' not in name}
        for line in lines
    ]


@pytest.mark.parametrize('interval, save', [(2, 1), (50, 2)])
def test_log_and_checkpoint_are_the_same(config, tmp_path, interval, save):
    """Logs and checkpoints within an epoch and at its end."""
    config.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    config.default_hooks.logger.interval = interval
    config.default_hooks.checkpoint.update(
        by_epoch=False, interval=save, max_keep_ckpts=-1
    )
    runs = {}
    for kind in ('RuntimeInfoHook', 'LateRuntimeInfoHook'):
        config.default_hooks.runtime_info = dict(type=kind)
        config.work_dir = str(tmp_path / kind)
        train(config)
        runs[kind] = {
            file.name: torch.load(file, weights_only=True)['message_hub']
            for file in (tmp_path / kind).glob('*.pth')
        }
    early, late = runs.values()
    assert early.keys() == late.keys() and len(late) >= 4
    for name in early:
        scalars = [
            {
                key: list(buffer.data[0])
                for key, buffer in hub[name]['log_scalars'].items()
                if not key.endswith('time')
            }
            for hub in (early, late)
        ]
        assert {'train/loss', 'train/loss_mim'} <= scalars[0].keys()
        assert scalars[0] == scalars[1], name
    logs = [read_logs(tmp_path / kind) for kind in runs]
    assert logs[0] == logs[1] and len(logs[0]) > 3


def test_what_a_batch_says_nothing_of_is_left_out():
    """An accuracy of no label is none; a loss that is NaN stays one."""
    logged = []
    runner = SimpleNamespace(
        message_hub=SimpleNamespace(
            update_scalar=lambda name, value: logged.append((name, value))
        )
    )
    hook = LateRuntimeInfoHook()
    for accuracy in (math.nan, 0.75):
        hook._late.add(dict(loss=math.inf, pseudo_label_acc=accuracy))
    hook._late.add(dict(loss=math.nan))
    hook._read(runner)
    assert logged[:3] == [
        ('train/loss', math.inf),
        ('train/loss', math.inf),
        ('train/pseudo_label_acc', 0.75),
    ]
    assert logged[3][0] == 'train/loss' and math.isnan(logged[3][1])
