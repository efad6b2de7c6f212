"""Compiled blocks: the same weights, and errors that name the key."""

import shutil

import pytest
import torch
from mmpretrain.registry import HOOKS
from tiny import train, weights


@pytest.mark.skipif(not shutil.which('c++'), reason='no C++ compiler')
def test_training_gives_the_same_weights(config):
    """Within rounding; AdamW turns it into steps where gradients vanish."""
    config.train_cfg.max_epochs = 1
    eager = weights(train(config))
    config.custom_hooks.append(dict(type='CompileBlocksHook'))
    config.load_from = None
    runner = train(config)
    compiled = weights(runner)
    assert compiled.keys() == eager.keys()
    assert all(
        layer._compiled_call_impl is not None
        for model in (runner.model, runner.model.teacher)
        for layer in model.backbone.layers
    )
    for name, value in eager.items():
        if name.endswith('qkv.bias'):  # no gradient in theory: noise
            continue
        torch.testing.assert_close(
            compiled[name], value, rtol=1e-3, atol=1e-5, msg=name
        )


def test_unknown_modules_are_named(config):
    config.custom_hooks.append(
        dict(type='CompileBlocksHook', blocks=['backbone.blocks'])
    )
    with pytest.raises(
        ValueError, match="CompileBlocksHook.blocks: MUST .*'backbone.blocks'"
    ):
        train(config)


@pytest.mark.parametrize(
    'options', [dict(blocks='backbone'), dict(blocks=[1]), dict(options=3)]
)
def test_options_are_checked(options):
    (key,) = options
    with pytest.raises(TypeError, match=f'CompileBlocksHook.{key}'):
        HOOKS.build(dict(type='CompileBlocksHook', **options))
