"""MMPretrain's vision transformer with a lighter training step."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
    VisionTransformer,
)
from mmpretrain.models.utils import QuickGELU as MMPretrainQuickGELU
from mmpretrain.models.utils.attention import MultiheadAttention
from mmpretrain.registry import MODELS


class QuickGELU(MMPretrainQuickGELU):
    """``x * sigmoid(1.702 x)`` as ``silu(1.702 x) / 1.702``.

    The gradient needs ``1.702 x`` alone, not ``x`` and the sigmoid.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to a tensor of any shape."""
        # in place: the gradient of silu needs its input, not its output
        return F.silu(1.702 * x).mul_(1 / 1.702)


class Attention(MultiheadAttention):
    """MMPretrain's self-attention, for some or all of the queries."""

    def forward(
        self, x: torch.Tensor, read: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend to all tokens.

        Args:
            x: Tokens, (B, N, D).
            read: Indices (B, n) of the tokens that attend; all by default.

        Returns:
            (B, n, D).
        """
        if read is None:
            # unbound, not indexed: the gradient is stacked, where three
            # indices would each fill a tensor of zeros
            q, k, v = self._heads(self.qkv(x), 3).unbind(0)
        else:
            (q,) = self._heads(self._part(take(x, read), slice(0, 1)), 1)
            k, v = self._heads(self._part(x, slice(1, 3)), 2).unbind(0)
        dropped = self.attn_drop if self.training else 0.0
        x = self.scaled_dot_product_attention(q, k, v, dropout_p=dropped)
        x = self.proj(x.transpose(1, 2).flatten(2))
        return self.out_drop(self.gamma1(self.proj_drop(x)))

    def _part(self, x: torch.Tensor, which: slice) -> torch.Tensor:
        """Some of the projections to queries, keys and values."""
        weight = self.qkv.weight.unflatten(0, (3, -1))[which].flatten(0, 1)
        bias = self.qkv.bias
        if bias is not None:
            bias = bias.unflatten(0, (3, -1))[which].flatten()
        return F.linear(x, weight, bias)

    def _heads(self, projected: torch.Tensor, count: int) -> torch.Tensor:
        """Split (B, N, count * D) into heads, (count, B, heads, N, d)."""
        sizes = (count, self.num_heads, self.head_dims)
        return projected.unflatten(2, sizes).permute(2, 0, 3, 1, 4)


class EncoderLayer(TransformerEncoderLayer):
    """A block that computes the tokens that are read, if these are set."""

    read: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, N, D); those that are not read become zeros."""
        return self.compute(x, self.read)

    def compute(
        self, x: torch.Tensor, read: torch.Tensor | None
    ) -> torch.Tensor:
        """Map tokens (B, N, D); of ``read``, (B, n), alone if it is given."""
        if read is None:
            x = x + self.attn(self.ln1(x))
            return self.ffn(self.ln2(x), identity=x)
        some = take(x, read) + self.attn(self.ln1(x), read)
        some = self.ffn(self.ln2(some), identity=some)
        index = read[..., None].expand_as(some)
        return some.new_zeros(x.shape).scatter(1, index, some)


def take(tokens: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """Take tokens (B, n, D) of (B, N, D) by their indices (B, n)."""
    return tokens.gather(1, read[..., None].expand(-1, -1, tokens.shape[2]))


@MODELS.register_module()
class LeanVisionTransformer(VisionTransformer):
    """MMPretrain's :class:`VisionTransformer`, with a lighter training step.

    The same arguments, the same function, the same names of weights. It keeps
    less for the gradient, issues fewer kernels, and its last block can be
    told which tokens are read, see :meth:`reading`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for layer in self.layers:
            # MMPretrain builds its blocks itself; these have the same
            # content and another way to compute it
            layer.__class__ = EncoderLayer
            layer.attn.__class__ = Attention
            for part in layer.modules():
                if type(part) is MMPretrainQuickGELU:
                    part.__class__ = QuickGELU

    @property
    def returns_last_tokens(self) -> bool:
        """Whether the tokens of the last block are all that is returned."""
        return self.out_type == 'raw' and [*self.out_indices] == [
            self.num_layers - 1
        ]

    def grid_of(self, images: torch.Tensor) -> tuple[int, ...]:
        """Rows and columns of the patches of images (B, 3, H, W)."""
        strides = self.patch_embed.projection.stride
        # MMPretrain pads what does not divide
        return tuple(
            -(-side // stride)
            for side, stride in zip(images.shape[2:], strides, strict=True)
        )

    @contextmanager
    def reading(self, read: torch.Tensor | None) -> Iterator[None]:
        """Let the last block compute some tokens alone.

        Args:
            read: Their indices (B, n) among class and patch tokens, without
                repetition; ``None`` for all. The others are zeros in what
                the backbone returns within the context.
        """
        last = self.layers[-1]
        last.read = read
        try:
            yield
        finally:
            last.read = None


def reading(backbone: nn.Module, read: torch.Tensor | None):
    """:meth:`LeanVisionTransformer.reading`, nothing on other backbones."""
    if isinstance(backbone, LeanVisionTransformer):
        return backbone.reading(read)
    return nullcontext()
