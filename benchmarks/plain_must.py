"""MUST written plainly, to measure against: correct, and nothing for speed.

One process, CLIP's vision transformer, the names of its weights. Every block
attends through torch's own module, the last one returns its attention weights
as well; decoder and projection run on all patches; every scalar of a step is
read at once, and the teacher follows one tensor at a time.
"""

import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

SCALE = 100.0
TERMS = ('loss_st', 'loss_fair', 'loss_mim', 'loss_align')


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A pre-norm transformer block that may return attention weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            dict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )

    def forward(
        self, x: torch.Tensor, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        y = self.ln_1(x)
        y, weights = self.attn(y, y, y, need_weights=need_weights)
        x = x + y
        y = self.ln_2(x)
        for layer in self.mlp.values():
            y = layer(y)
        return x + y, weights


class PlainMUST(nn.Module):
    """The student: tower, classifier, and MUST's three small parts.

    Args:
        image: Side of the views in pixels.
        patch: Side of a patch in pixels.
        width: Token width ``D``.
        layers: Number of blocks.
        heads: Number of attention heads.
        embed: Width ``E`` of the joint space.
        classes: Number of classes ``K``.
    """

    def __init__(
        self,
        image: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        embed: int,
        classes: int,
    ) -> None:
        super().__init__()
        tokens = (image // patch) ** 2 + 1
        std = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(std * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            std * torch.randn(tokens, width)
        )
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleDict(
            dict(
                resblocks=nn.ModuleList(
                    Block(width, heads) for _ in range(layers)
                )
            )
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(std * torch.randn(width, embed))
        self.classifier = nn.Parameter(
            F.normalize(torch.randn(embed, classes), dim=0)
        )
        self.mask_token_embedding = nn.Parameter(
            0.02 * torch.randn(1, 1, width)
        )
        self.ln_patch = nn.LayerNorm(width)
        self.decoder = nn.Sequential(
            nn.Conv2d(width, 3 * patch**2, 1), nn.PixelShuffle(patch)
        )

    def tokens(
        self, images: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, 1 + N, D) and the last attention weights.

        Args:
            images: Normalised images (B, 3, H, W).
            mask: (B, n, n), 1 where a patch is masked.
        """
        x = self.conv1(images).flatten(2).transpose(1, 2)
        if mask is not None:
            masked = mask.flatten(1).unsqueeze(-1).to(x.dtype)
            x = x * (1 - masked) + self.mask_token_embedding * masked
        first = self.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding
        x = self.ln_pre(x)
        blocks = self.transformer['resblocks']
        for number, block in enumerate(blocks, 1):
            x, weights = block(x, need_weights=number == len(blocks))
        return x, weights

    def classify(
        self, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Global features (B, E) and logits (B, K)."""
        feature = F.normalize(self.ln_post(tokens[:, 0]) @ self.proj, dim=-1)
        return feature, SCALE * feature @ self.classifier


def losses(
    student: PlainMUST,
    teacher: PlainMUST,
    weak: torch.Tensor,
    strong: torch.Tensor,
    mask: torch.Tensor,
    threshold: float,
    past: torch.Tensor | None = None,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The terms of the loss without their weights.

    Args:
        student: The student.
        teacher: The teacher.
        weak: Weak views (B, 3, H, W), normalised.
        strong: Strong views (B, 3, H, W), normalised.
        mask: (B, n, n), 1 where a patch is masked.
        threshold: Confidence ``tau``.
        past: Running mean prediction (K,), where fairness keeps one: from
            512 classes on.

    Returns:
        The terms, and the mean prediction (K,) to keep.
    """
    with torch.no_grad():
        _, logits = teacher.classify(teacher.tokens(weak, None)[0])
        confidence, label = logits.float().softmax(dim=1).max(dim=1)
        confident = confidence > threshold
    tokens, _ = student.tokens(strong, mask)
    feature, logits = student.classify(tokens)
    logits = logits.float()
    terms = {}
    terms['loss_st'] = (
        F.cross_entropy(logits[confident], label[confident])
        if confident.any()
        else 0 * logits.sum()
    )
    mean, share = logits.softmax(dim=1).mean(dim=0), 1.0
    if logits.shape[1] >= 512:
        share = 0.5
        mean = mean if past is None else share * past + share * mean
    terms['loss_fair'] = -mean.log().mean() / share

    patches = student.ln_patch(tokens[:, 1:])
    side = math.isqrt(patches.shape[1])
    grid = patches.transpose(1, 2).unflatten(2, (side, side))
    size = strong.shape[-1] // side
    pixels = mask.repeat_interleave(size, 1).repeat_interleave(size, 2)
    error = (student.decoder(grid) - strong).abs() * pixels.unsqueeze(1)
    terms['loss_mim'] = error.float().sum() / pixels.sum() / 3

    local = F.normalize(patches @ student.proj, dim=-1)
    distance = (local - feature.unsqueeze(1)).pow(2).sum(dim=-1)
    masked = mask.flatten(1)
    terms['loss_align'] = (distance * masked).sum() / masked.sum()
    return terms, mean.detach()


class PlainStep:
    """Student, teacher and optimizer; calling it trains one step.

    Args:
        student: The student; the teacher starts as its copy.
        lr: Learning rate.
        threshold: Confidence ``tau``.
        w_fair: Weight of the fairness loss.
        w_align: Weight of the alignment loss.
        decay: Weight of the teacher's past.
        layer_decay: Factor on the rate from a block to the one below.
        autocast: Precision of automatic mixed precision; ``None`` is float32.
    """

    def __init__(
        self,
        student: PlainMUST,
        lr: float = 1e-5,
        threshold: float = 0.7,
        w_fair: float = 1.0,
        w_align: float = 0.2,
        decay: float = 0.9998,
        layer_decay: float = 0.65,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.threshold, self.decay = threshold, decay
        self.weights = dict.fromkeys(TERMS, 1.0)
        self.weights |= dict(loss_fair=w_fair, loss_align=w_align)
        self.autocast = autocast
        self.past: torch.Tensor | None = None
        depth = len(student.transformer['resblocks']) + 1
        groups: dict[tuple, dict] = {}
        for name, param in student.named_parameters():
            scale = layer_decay ** (depth - layer_of(name, depth))
            decays = 0.05 if param.ndim > 1 else 0.0
            group = groups.setdefault(
                (scale, decays),
                dict(
                    params=[], lr=lr * scale, scale=scale, weight_decay=decays
                ),
            )
            group['params'].append(param)
        self.optimizer = torch.optim.AdamW(list(groups.values()))

    def __call__(
        self, weak: torch.Tensor, strong: torch.Tensor, mask: torch.Tensor
    ) -> dict[str, float]:
        """Train on a batch; see :func:`losses`.

        Raises:
            FloatingPointError: If the loss is not finite.
        """
        with torch.autocast(
            weak.device.type,
            self.autocast or torch.bfloat16,
            enabled=self.autocast is not None,
        ):
            terms, self.past = losses(
                self.student,
                self.teacher,
                weak,
                strong,
                mask,
                self.threshold,
                self.past,
            )
        loss = sum(self.weights[name] * terms[name] for name in TERMS)
        found = {name: value.item() for name, value in terms.items()}
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f'the loss is not finite: {found}')
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            source = self.student.state_dict()
            for name, value in self.teacher.state_dict().items():
                value.copy_(
                    self.decay * value + (1 - self.decay) * source[name]
                )
        return found


def layer_of(name: str, last: int) -> int:
    """Layer of a parameter for layer decay: the stem 0, blocks from 1."""
    if name.startswith('transformer.resblocks.'):
        return int(name.split('.')[2]) + 1
    stem = (
        'conv1',
        'class_embedding',
        'positional_embedding',
        'ln_pre',
        'mask_token',
    )
    return 0 if name.startswith(stem) else last
