"""No training step makes the host wait but for what is read late.

What is allowed is named; everything else a GPU would wait for, and every mix
of host and device in forward, backward, optimizer and hooks, is found.
"""

import pytest
import torch

from must_mm.models.must import MUST
from tests.pretended import FirstHook
from tests.tiny import train
from tests.tiny_maect import maect_config, write_mae

# once an epoch of three iterations: the scalars of log and of health
LATE = {'read (tolist) at late_scalars.py:read'}
# once a run: the prior of the classes
ONCE = 'read (cpu) at collapse.py:__init__'


def found(config) -> dict:
    """Train for an epoch; reads and mixes, and how often."""
    config.train_cfg.max_epochs = 1
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.logger.interval = 50
    first = FirstHook()
    train(config, first, first.last)
    return first.device.found


@pytest.mark.parametrize('decode', ['all', 'masked'])
@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_must(config, wrapper, decode):
    config.model.decode = decode
    config.optim_wrapper.type = wrapper
    config.custom_hooks[0].images_per_update = 12
    counts = found(config)
    assert counts.keys() == {*LATE, ONCE} and counts[ONCE] == 1


def as_cnn(config):
    """A ResNet with batch norms, whose masks are colours."""
    config.merge_from_dict(
        {
            'model.backbone': dict(
                _delete_=True,
                type='ResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
            ),
            'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
            'model.head': dict(
                type='LinearPseudoLabelHead', in_channels=64, logit_scale=1.0
            ),
            'model.decoder': dict(in_channels=64, encoder_stride=32),
            'model.decode': 'all',
            'model.mim_head.patch_size': 32,
            'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
            'optim_wrapper.paramwise_cfg': dict(
                _delete_=True, norm_decay_mult=0.0
            ),
        }
    )
    _, _, views, mask, _ = config.train_dataloader.dataset.pipeline
    for view in views.transforms:
        view[0].size = 64
    mask.update(input_size=64, mask_patch_size=32, model_patch_size=32)
    return config


def test_cnn(config):
    counts = found(as_cnn(config))
    assert counts.keys() == {*LATE, ONCE} and counts[ONCE] == 1


@pytest.fixture(scope='module')
def mae(tmp_path_factory):
    return write_mae(tmp_path_factory.mktemp('mae') / 'mae.pth')


@pytest.mark.parametrize(
    'name', ['vit-b16_stage2', 'vit-b16_stage3', 'vit-l16_byol_stage3']
)
def test_maect(name, images, tmp_path, mae):
    """One read in an epoch, where a step had five and nine."""
    config = maect_config(name, images, tmp_path, mae)
    config.optim_wrapper.type = 'AutocastOptimWrapper'
    config.custom_hooks = [
        hook for hook in config.custom_hooks if hook.type != 'MAECTCheckHook'
    ]  # stage 3 begins with a head of stage 2
    if 'stage3' in name:
        config.load_from = None
    counts = found(config)
    assert counts.keys() == LATE
    assert sum(counts.values()) <= 3  # in three steps


HARMS = {
    'read (aten._local_scalar_dense)': [
        lambda losses, inputs: float(losses['loss_st']),
        lambda losses, inputs: bool((inputs[0] > 0).any()),
    ],
    'read (boolean index)': [lambda losses, inputs: inputs[0][inputs[0] > 0]],
    'read (to)': [lambda losses, inputs: inputs[0].to('cpu')],
    'read (cpu)': [lambda losses, inputs: inputs[0].cpu()],
    'mixed devices (aten.add)': [
        lambda losses, inputs: inputs[0] + torch.ones(1, 3, 1, 1)
    ],
}


@pytest.mark.parametrize('what', HARMS)
def test_what_waits_is_found(config, monkeypatch, what):
    loss = MUST.loss

    def harmed(self, inputs, data_samples):
        losses = loss(self, inputs, data_samples)
        for harm in HARMS[what]:
            harm(losses, inputs)
        return losses

    monkeypatch.setattr(MUST, 'loss', harmed)
    counts = found(config)
    assert counts.keys() > LATE
    assert counts[f'{what} at test_waiting.py:<lambda>'] == 3 * len(
        HARMS[what]
    )
