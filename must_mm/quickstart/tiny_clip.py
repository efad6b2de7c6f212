"""A tiny CLIP, trained in minutes on rendered digits.

It stands in for a large pre-trained CLIP: a plain ViT of OpenAI's layout and
a text tower, trained by contrast on image-caption pairs, and so able to name
images it never saw. It knows fonts, not handwriting: the gap that MUST closes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from .render import render_digits
from .target import CLASS_NAMES

#: The model's name in open_clip, and the stem of its two files.
NAME = 'tiny_clip'

TEMPLATES = (
    'a photo of the number {}.',
    'the digit {}.',
    'a drawing of the number {}.',
    'a blurry photo of the digit {}.',
    'a picture of a handwritten {}.',
    'a small {}.',
)

BATCH_SIZE = 128
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARMUP = 0.1  # share of the steps
MAX_SCALE = 100.0  # of exp(logit_scale), as in CLIP
REPORT_EVERY = 5.0  # seconds


def model_config(image_size: int, patch_size: int) -> dict:
    """open_clip's description of the model; sizes in pixels."""
    return {
        'embed_dim': 64,
        'quick_gelu': True,
        'vision_cfg': {
            'image_size': image_size,
            'patch_size': patch_size,
            'width': 128,
            'layers': 4,
            'head_width': 64,
        },
        'text_cfg': {
            'context_length': 16,
            'vocab_size': 49408,
            'width': 64,
            'heads': 1,
            'layers': 1,
        },
    }


def normalise(images: np.ndarray) -> Tensor:
    """Turn uint8 RGB images (N, H, W, 3) into CLIP's input (N, 3, H, W)."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)
    return (pixels - mean) / std


def contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Symmetric image-text contrast with several positives.

    Ten classes repeat inside a batch, and a caption of the same class is no
    negative. With :math:`P_{ij} = [y_i = y_j]`,

    .. math::
        L = -\frac{1}{2} \sum_{ij} \frac{P_{ij}}{\sum_k P_{ik}}
            (\log p_{ij} + \log q_{ij}) / B

    where :math:`p` is the softmax over captions and :math:`q` over images.

    Args:
        logits: Scaled cosines, image i with caption j, shape (B, B).
        labels: Class of image i and of caption i, shape (B,).

    Returns:
        Mean loss, a scalar.
    """
    positive = (labels[:, None] == labels[None, :]).float()
    target = positive / positive.sum(1, keepdim=True)
    by_image = F.cross_entropy(logits, target)
    by_text = F.cross_entropy(logits.T, target)
    return (by_image + by_text) / 2


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    # Embeddings, norms, biases and the scale are not decayed: most of the
    # vocabulary never gets a gradient and would only shrink.
    matrices, others = [], []
    for name, weight in model.named_parameters():
        decays = weight.ndim > 1 and 'embedding' not in name
        (matrices if decays else others).append(weight)
    return torch.optim.AdamW(
        [
            {'params': matrices, 'weight_decay': WEIGHT_DECAY},
            {'params': others, 'weight_decay': 0.0},
        ],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )


def train_tiny_clip(
    out_dir: str | Path,
    seed: int,
    image_size: int = 32,
    patch_size: int = 8,
    renderings: int = 20000,
    epochs: int = 4,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Train on renderings only and write ``tiny_clip.json`` and ``.pt``.

    Args:
        out_dir: Folder for the two files; made where missing.
        seed: Seed of the renderings, the start and the order. The global
            random state of torch is left as it was.
        image_size: Side of the images in pixels.
        patch_size: Side of the patches in pixels; divides image_size.
        renderings: Number of training images.
        epochs: Passes over them.
        progress: Called with a line on loss and time every few seconds.

    Returns:
        Path of the weights, a plain state dict. After
        ``open_clip.add_model_config(out_dir / 'tiny_clip.json')`` they load
        by ``open_clip.create_model('tiny_clip', pretrained=str(path))``.

    Raises:
        ValueError: If patch_size does not divide image_size, or a batch of
            128 cannot be filled.
    """
    if image_size % patch_size:
        raise ValueError(
            f'patch_size {patch_size} does not divide image_size {image_size}'
        )
    if renderings < BATCH_SIZE:
        raise ValueError(f'renderings must be at least {BATCH_SIZE}')
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    config = out_dir / f'{NAME}.json'
    config.write_text(
        json.dumps(model_config(image_size, patch_size), indent=2) + '\n'
    )
    open_clip.add_model_config(config)

    report = progress or (lambda message: None)
    report(f'rendering {renderings} digits')
    images, labels = render_digits(renderings, image_size, seed)
    labels = torch.from_numpy(labels)

    # Captions repeat, so each batch encodes the few distinct ones once.
    captions = open_clip.get_tokenizer(NAME)(
        [t.format(name) for name in CLASS_NAMES for t in TEMPLATES]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(NAME)
        _fit(model, images, labels, captions, epochs, report)

    weights = out_dir / f'{NAME}.pt'
    torch.save(model.state_dict(), weights)
    return weights


def _fit(
    model: torch.nn.Module,
    images: np.ndarray,
    labels: Tensor,
    captions: Tensor,
    epochs: int,
    report: Callable[[str], None],
) -> None:
    """Train in place; caption c * len(TEMPLATES) + t is of class c."""
    batches = len(labels) // BATCH_SIZE
    steps = epochs * batches
    optimizer = _optimizer(model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        LEARNING_RATE,
        total_steps=steps,
        pct_start=WARMUP,
        cycle_momentum=False,
    )
    model.train()
    start = last = time.monotonic()
    for step in range(steps):
        if step % batches == 0:
            order = torch.randperm(len(labels))
        first = step % batches * BATCH_SIZE
        chosen = order[first : first + BATCH_SIZE]
        classes = labels[chosen]
        template = torch.randint(len(TEMPLATES), (BATCH_SIZE,))
        caption = classes * len(TEMPLATES) + template

        image = model.encode_image(
            normalise(images[chosen.numpy()]), normalize=True
        )
        text = model.encode_text(captions, normalize=True)[caption]
        logits = model.logit_scale.exp() * image @ text.T
        loss = contrastive_loss(logits, classes)

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(MAX_SCALE))

        now = time.monotonic()
        if now - last >= REPORT_EVERY or step + 1 == steps:
            last = now
            spent = now - start
            left = spent / (step + 1) * (steps - step - 1)
            report(
                f'epoch {step // batches + 1}/{epochs}  '
                f'loss {loss.item():.3f}  '
                f'{spent:.0f} s spent, {left:.0f} s left'
            )
    model.eval()
