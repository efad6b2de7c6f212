"""Training LayerNorms and classifier alone."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS

from must_mm.utils.paths import config_path
from tests.tiny import train, weights


@pytest.fixture
def train_only():
    """What the single-GPU preset trains."""
    name = 'must/vit-b16_custom_single-gpu.py'
    return Config.fromfile(config_path(name)).model.train_only


@pytest.mark.onedl
def test_only_what_is_named_moves(config, train_only):
    """Three epochs later everything else is bit for bit what it was."""
    config.model.train_only = train_only
    config.default_hooks.checkpoint = None
    started = {}

    class Start(Hook):
        priority = 'VERY_LOW'

        def before_train(self, runner):
            started.update(weights(runner))

    runner = train(config, Start())
    moved = {
        name
        for name, value in weights(runner).items()
        if not torch.equal(value, started[name])
        and not name.startswith('teacher.')
    }
    norms = {
        f'{name}.{kind}'
        for name, module in runner.model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        and not name.startswith('teacher.')
        for kind in ('weight', 'bias')
    }
    assert moved == norms | {'head.classifier'}


def test_teacher_stays_frozen(config, train_only):
    config.model.train_only = [*train_only, 'backbone']
    model = MODELS.build(config.model)
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert all(p.requires_grad for p in model.backbone.parameters())
    assert not model.neck.proj.requires_grad


def test_what_names_nothing_is_an_error(config):
    config.model.train_only = ['LayerNorm', 'heads']
    with pytest.raises(ValueError, match="train_only: \\['heads'\\]"):
        MODELS.build(config.model)
