"""The lean vision transformer computes what MMPretrain's does."""

import pytest
import torch
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS

from must_mm.engine.blocks import compile_blocks, recompute_blocks
from must_mm.models.lean_vision_transformer import LeanVisionTransformer
from must_mm.models.masked_view import masked_tokens

SIZES = dict(
    arch=dict(
        embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32
    ),
    img_size=16,
    patch_size=4,
    pre_norm=True,
    final_norm=False,
    out_type='raw',
    layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
)


def pair(**changes) -> tuple[VisionTransformer, LeanVisionTransformer]:
    torch.manual_seed(0)
    plain = MODELS.build(dict(SIZES, type='VisionTransformer', **changes))
    lean = MODELS.build(dict(SIZES, type='LeanVisionTransformer', **changes))
    for weight in plain.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    lean.load_state_dict(plain.state_dict())
    return plain, lean


def close(found, expected):
    # sums of 16 to 32 terms in float64, in another order
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def gradients(backbone) -> dict:
    return {n: p.grad for n, p in backbone.named_parameters()}


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(layer_cfgs=dict(act_cfg=dict(type='GELU'), qkv_bias=False)),
        dict(layer_scale_init_value=0.1, final_norm=True),
        dict(out_type='cls_token'),
    ],
    ids=str,
)
def test_values_and_gradients(changes):
    plain, lean = (b.double() for b in pair(**changes))
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    found = []
    for backbone in (plain, lean):
        (out,) = backbone(images)
        (out * torch.linspace(-1, 1, out.shape[-1])).square().sum().backward()
        found.append((out, gradients(backbone)))
    close(found[1][0], found[0][0])
    assert found[1][1].keys() == found[0][1].keys()
    for name, grad in found[0][1].items():
        close(found[1][1][name], grad)


@pytest.mark.parametrize('bias', [True, False])
def test_tokens_that_are_read(bias):
    """The same values and gradients there, zeros elsewhere."""
    changes = dict(layer_cfgs=dict(SIZES['layer_cfgs'], qkv_bias=bias))
    plain, lean = (b.double() for b in pair(**changes))
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    read = torch.tensor([[0, 3, 9], [0, 16, 1]])
    rows = torch.arange(2)[:, None]
    weights = torch.randn(2, 3, 16, dtype=torch.float64)
    (expected,) = plain(images)
    (expected[rows, read] * weights).sum().backward()
    with lean.reading(read):
        (found,) = lean(images)
    (found[rows, read] * weights).sum().backward()
    close(found[rows, read], expected[rows, read])
    unread = torch.ones(2, 17, dtype=torch.bool)
    unread[rows, read] = False
    assert not found[unread].any()
    for name, grad in gradients(plain).items():
        close(gradients(lean)[name], grad)
    close(lean(images)[0], expected)  # outside the context all are computed


@pytest.mark.parametrize('recompute', [False, True])
def test_four_graphs_at_most(recompute):
    """Blocks, and the last one that reads: of each step's tokens the same."""
    torch.compiler.reset()
    _, lean = pair()
    if recompute:
        recompute_blocks(lean.layers)
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    compile_blocks(lean.layers, dict(backend=backend, dynamic=False))
    for _ in range(3):
        read = torch.randint(1, 17, (2, 1))
        with lean.reading(read):
            lean(torch.randn(2, 3, 16, 16))[0].sum().backward()
    assert len(made) == 2


def test_less_is_kept_for_the_gradient():
    """Of QuickGELU one tensor and not two; in a last block that reads."""

    def kept(backbone, read=None) -> int:
        stored = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            if read is None:
                backbone(images)
            else:
                with backbone.reading(read):
                    backbone(images)
        return sum(stored.values())

    plain, lean = pair()
    images = torch.randn(2, 3, 16, 16)
    hidden = 2 * 17 * 32 * 4  # bytes of a block's widest map
    whole = kept(lean)
    assert kept(plain) - whole >= 3 * hidden
    # of the last block at least these, of sixteen tokens
    assert whole - kept(lean, torch.zeros(2, 1, dtype=torch.long)) > hidden


def test_masked_tokens():
    mask = torch.zeros(2, 2, 2, dtype=torch.bool)
    mask[0, 0, 1] = mask[1, 1, 0] = True
    assert masked_tokens(mask, (2, 2)).tolist() == [[0, 2], [0, 3]]
    # cells of four patches
    assert masked_tokens(mask, (4, 4)).tolist() == [
        [0, 3, 4, 7, 8],
        [0, 9, 10, 13, 14],
    ]
    mask[1] = True
    assert masked_tokens(mask, (2, 2)) is None
