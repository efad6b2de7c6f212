"""Blocks compiled or recomputed: the same weights; errors name the key."""

import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from must_mm.engine.blocks import CompileBlocksHook
from tests.tiny import train, weights


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


def test_training_gets_code_for_its_batch_alone(config):
    """Validation, which comes first, has other batches."""
    shapes = []

    def backend(graph, inputs):
        sizes = [x.shape for x in inputs if getattr(x, 'ndim', 0) == 3]
        shapes.append(sizes[0])
        return graph.forward

    config.train_cfg.max_epochs = 1
    torch.compiler.reset()
    train(config, CompileBlocksHook(options=dict(backend=backend)))
    assert {shape[0] for shape in shapes} > {
        config.train_dataloader.batch_size
    }
    assert all(type(side) is int for shape in shapes for side in shape)


@pytest.mark.parametrize(
    'train_only',
    [None, ['backbone.layers', 'head'], ['backbone.layers.1', 'head']],
    ids=str,
)
def test_recomputing_changes_nothing(config, train_only):
    """Bit for bit, where no input of a block needs a gradient, too."""
    config.train_cfg.max_epochs = 1
    config.model.train_only = train_only
    start = {}

    class Start(Hook):
        def before_train(self, runner):
            start.update(weights(runner))

    whole = weights(train(config))
    config.custom_hooks.append(dict(type='RecomputeBlocksHook'))
    config.load_from = None
    runner = train(config, Start())
    recomputed = weights(runner)
    assert recomputed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(recomputed[name], value), name
    name = 'backbone.layers.1.attn.qkv.weight'
    assert not torch.equal(recomputed[name], start[name])


@pytest.mark.parametrize('kind', ['CompileBlocksHook', 'RecomputeBlocksHook'])
def test_unknown_modules_are_named(config, kind):
    config.custom_hooks.append(dict(type=kind, blocks=['backbone.blocks']))
    with pytest.raises(
        ValueError, match=f"{kind}.blocks: MUST .*'backbone.blocks'"
    ):
        train(config)


@pytest.mark.parametrize(
    'kind, key, value',
    [
        ('CompileBlocksHook', 'blocks', 'backbone'),
        ('CompileBlocksHook', 'blocks', [1]),
        ('CompileBlocksHook', 'options', 3),
        ('RecomputeBlocksHook', 'blocks', 'backbone'),
    ],
)
def test_options_are_checked(kind, key, value):
    with pytest.raises(TypeError, match=f'{kind}.{key}'):
        HOOKS.build({'type': kind, key: value})
