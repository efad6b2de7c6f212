"""From what a backbone returns to the global feature, of unit length."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from ..utils.validation import check_integer, check_number


@MODELS.register_module()
class CLIPProjection(BaseModule):
    """CLIP's way from tokens to the joint space: ``ln_post`` and ``proj``.

    Expects the raw tokens of a :class:`VisionTransformer` with
    ``out_type='raw'`` and ``final_norm=False``, class token first.

    Args:
        in_channels: Token width ``D``.
        out_channels: Width ``E`` of the joint image-text space.
        eps: Epsilon of the LayerNorm, positive; CLIP's is 1e-5.

    Raises:
        ValueError: If a value is out of its range.

    Attributes:
        normalises: That the neck normalises what it reads; local features,
            which go straight to ``project``, need a norm of their own.
        reads_class_token: That it reads no other token.
    """

    normalises = True
    reads_class_token = True

    def __init__(
        self, in_channels: int, out_channels: int, eps: float = 1e-5
    ) -> None:
        super().__init__()
        check_integer('model.neck.in_channels', in_channels)
        check_integer('model.neck.out_channels', out_channels)
        check_number('model.neck.eps', eps, '(0, inf)')
        self.ln_post = nn.LayerNorm(in_channels, eps=eps)
        self.proj = nn.Parameter(
            torch.randn(in_channels, out_channels) / math.sqrt(in_channels)
        )

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., D) to unit vectors of shape (..., E)."""
        return F.normalize(x @ self.proj, dim=-1)

    def forward(self, feats: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        """Return the global feature ``g`` of the last stage.

        Args:
            feats: Stage outputs; the last is (B, 1 + N, D).

        Returns:
            One tensor, (B, E), of unit length.
        """
        return (self.project(self.ln_post(feats[-1][:, 0])),)


@MODELS.register_module()
class UnitFeature(BaseModule):
    """Scales the image feature of a backbone to unit length.

    The neck of :class:`OpenCLIPBackbone`, which has pooled and projected.
    """

    def forward(self, feats: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        """Return the global feature.

        Args:
            feats: Outputs of the backbone; the first is (B, E).

        Returns:
            One tensor, (B, E), of unit length.
        """
        return (F.normalize(feats[0], dim=-1),)
