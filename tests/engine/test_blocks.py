"""Blocks compiled or recomputed: the same weights; errors name the key."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import HOOKS

from must_mm.engine.blocks import (
    AnyRateDropPath,
    CompileBlocksHook,
    RecomputeBlocksHook,
    compile_blocks,
    recompute_blocks,
)
from tests.tiny import train, weights


def test_training_gives_the_same_weights(config):
    """Within rounding; AdamW turns it into steps where gradients vanish.

    All of the compiler but the code that it writes in the end, which takes
    minutes to build.
    """
    config.train_cfg.max_epochs = 1
    eager = weights(train(config))
    config.custom_hooks.append(
        dict(type='CompileBlocksHook', options=dict(backend='aot_eager'))
    )
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


def graphs(drop_path: float, recompute: bool) -> int:
    """How many graphs the steps of a small transformer with 12 blocks make."""
    torch.compiler.reset()
    backbone = VisionTransformer(
        dict(
            embed_dims=16,
            num_layers=12,
            num_heads=2,
            feedforward_channels=16,
        ),
        img_size=16,
        patch_size=8,
        drop_path_rate=drop_path,
    )
    if recompute:
        recompute_blocks(backbone.layers)
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    compile_blocks(backbone.layers, dict(backend=backend, dynamic=False))
    for _ in range(2):
        backbone(torch.randn(2, 3, 16, 16))[0].sum().backward()
    return len(made)


@pytest.mark.parametrize('recompute', [False, True])
@pytest.mark.parametrize('drop_path', [0.0, 0.2])
def test_one_graph_serves_all_blocks(drop_path, recompute):
    """Blocks that are recomputed as well, and those of any drop path rate."""
    assert graphs(drop_path, recompute) == 1


def test_any_rate_drops_as_mmpretrain_does():
    """Each sample whole or gone, and the mean kept."""
    torch.manual_seed(0)
    x = torch.ones(20000, 2, 2)
    for rate in (0.0, 0.25):
        dropped = AnyRateDropPath(rate, x.device)(x)
        kept = (x[:1] / (1 - rate)).amax().item()
        assert set(dropped.unique().tolist()) <= {0.0, kept}
        assert (dropped.amax((1, 2)) == dropped.amin((1, 2))).all()
        # standard error of the mean: sqrt(0.25 / 0.75 / 20000) = 0.004
        assert dropped.mean().item() == pytest.approx(1, abs=0.016)
    module = AnyRateDropPath(0.25, x.device).eval()
    assert module(x) is x


def test_without_a_compiler_training_goes_on(monkeypatch):
    def fails(*_args, **_options):
        raise RuntimeError('Cannot find a working triton installation')

    monkeypatch.setattr('must_mm.engine.blocks.torch.compile', fails)
    said = []
    hook = CompileBlocksHook()
    runner = SimpleNamespace(
        model=torch.nn.ModuleDict(dict(backbone=torch.nn.Sequential())),
        logger=SimpleNamespace(warning=said.append),
    )
    runner.model.backbone.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    hook.before_train(runner)
    assert 'working triton' in said[0]
    assert runner.model.backbone.layers[0]._compiled_call_impl is None


def test_a_model_without_such_blocks_is_left_alone():
    """The recipes' hook; the compiled graphs are counted all the same."""
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(2, 2)))
    runner = SimpleNamespace(model=model)
    hook = CompileBlocksHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0)
    with pytest.raises(ValueError, match='name its blocks'):
        RecomputeBlocksHook().before_train(runner)


@pytest.mark.parametrize(
    'wrap',
    [torch.nn.ModuleList, lambda blocks: torch.nn.Sequential(*blocks)],
    ids=['list', 'sequential'],
)
def test_blocks_are_taken_one_by_one(wrap):
    """As MMPretrain keeps a transformer's, and timm, or a ResNet a stage's."""
    model = torch.nn.Module()
    model.blocks = wrap([torch.nn.Linear(2, 2) for _ in range(3)])
    hook = RecomputeBlocksHook(blocks=['blocks', 'blocks.0'])
    found = hook.find(SimpleNamespace(model=model))
    assert found == [*model.blocks, model.blocks[0]]


def test_only_the_named_device_compiles():
    model = torch.nn.Linear(2, 2)
    hook = CompileBlocksHook(blocks=['missing'], device='cuda')
    hook.before_train(SimpleNamespace(model=model))


@pytest.mark.parametrize('done', [0, 6], ids=['new', 'resumed'])
def test_late_graphs_are_told(monkeypatch, done):
    """In the first epoch as a number, afterwards as a warning."""
    made = iter([0, 0, 4, 4, 4, 4, 4, 4, 5])
    monkeypatch.setattr(
        'must_mm.engine.blocks._compiled_graphs', lambda: next(made)
    )
    said = []
    runner = SimpleNamespace(
        model=torch.nn.Module(),
        logger=SimpleNamespace(
            info=said.append, warning=lambda text: said.append('! ' + text)
        ),
        train_dataloader=range(2),
        iter=done,
    )
    runner.model.block = torch.nn.Linear(2, 2)
    hook = CompileBlocksHook(blocks=['block'], options=dict(backend='eager'))
    hook.before_train(runner)
    for runner.iter in range(done, done + 4):
        hook.before_train_iter(runner, 0)
        hook.after_train_iter(runner, 0)
    first, *rest = said[1:]
    assert first == 'compiled graphs: 4'
    assert len(rest) == 1 and rest[0].startswith('! blocks were compiled')
    assert f'iteration {done + 4}, 5 graphs' in rest[0]


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
