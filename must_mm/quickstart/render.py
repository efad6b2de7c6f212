"""Synthetic digits: what the tiny CLIP knows before it sees the target.

Glyphs of the fonts that matplotlib ships are turned, bent, crossed or
interrupted by a slip of the pen, thickened or thinned, and given noise. They
stay sharp print: handwriting, and the target's coarse pixels, are left for
the adaptation to learn.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from .target import CLASS_NAMES

DIGITS = '0123456789'
BITMAP = 32  # side of the bitmap that is drawn
GLYPH = 96  # side of a cached glyph; its ink is INK pixels tall
INK = 64
CHUNK = 2048  # renderings worked on at once, bounds the memory

MAX_ROTATION = 0.3  # radians
MAX_SHEAR = 0.4
MAX_SHIFT = 0.08  # of half the bitmap's side
MAX_BEND = 0.12  # of half the bitmap's side
MAX_RISE = 0.35  # of half the ink's height, by which its middle moves
SLIP_SHARE = 0.2  # share of renderings with a stray stroke; as many with a gap
SLIP_LENGTH = 0.6  # of the distance between two random points
SLIP_WIDTH = (0.04, 0.14)  # half of it, of half the bitmap's side
HEIGHT = (0.8, 1.05)  # ink height over the bitmap's side
ASPECT = (0.7, 1.3)  # stretch of the width
INK_LEVEL = (0.15, 0.55)  # threshold after blurring: low is a thick stroke
MAX_UNEVEN = 0.2  # change of that threshold within a rendering
CONTRAST = (0.75, 1.0)
MAX_NOISE = 0.06


def digit_fonts() -> list[Path]:
    """Fonts shipped with matplotlib that have plain digits, sorted.

    Symbol fonts put other signs at the digits' codes, so the glyphs' names
    decide rather than their codes.
    """
    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    fonts = []
    for path in sorted(folder.glob('*.ttf')):
        font = FT2Font(str(path))
        codes = font.get_charmap()
        names = [
            font.get_glyph_name(codes[ord(digit)])
            for digit in DIGITS
            if ord(digit) in codes
        ]
        if names == list(CLASS_NAMES):
            fonts.append(path)
    return fonts


@lru_cache(maxsize=2)
def glyph_bank(characters: str = DIGITS) -> torch.Tensor:
    """Every character in every font, light on dark, all equally tall.

    Returns:
        Values in [0, 1], shape (fonts, characters, GLYPH, GLYPH).
    """
    bank = []
    for path in digit_fonts():
        font = ImageFont.truetype(str(path), 2 * INK)
        for character in characters:
            left, top, right, bottom = font.getbbox(character)
            ink = Image.new('L', (right - left, bottom - top))
            ImageDraw.Draw(ink).text((-left, -top), character, 255, font)
            ink = ink.crop(ink.getbbox())
            width = max(1, round(ink.width * INK / ink.height))
            ink = ink.resize((width, INK), Image.Resampling.BICUBIC)
            glyph = Image.new('L', (GLYPH, GLYPH))
            glyph.paste(ink, ((GLYPH - width) // 2, (GLYPH - INK) // 2))
            bank.append(np.asarray(glyph, dtype=np.float32) / 255)
    stacked = torch.from_numpy(np.stack(bank))
    return stacked.view(-1, len(characters), GLYPH, GLYPH)


def _uniform(
    rng: np.random.Generator, low: float, high: float, *shape: int
) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def _coarse_field(
    rng: np.random.Generator, size: float, *shape: int
) -> torch.Tensor:
    """Random values up to ``size``, enlarged smoothly to the bitmap."""
    return F.interpolate(
        _uniform(rng, -size, size, *shape),
        (BITMAP, BITMAP),
        mode='bicubic',
        align_corners=True,
    )


def _slip(drawn: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Add a short straight stroke to some bitmaps, cut one out of others."""
    count = len(drawn)
    start, other = _uniform(rng, -0.7, 0.7, 2, count, 2, 1, 1)
    along = SLIP_LENGTH * (other - start)
    axis = torch.linspace(-1, 1, BITMAP)
    offset = torch.stack(torch.meshgrid(axis, axis, indexing='xy')) - start
    nearest = (offset * along).sum(1, keepdim=True)
    nearest = (nearest / along.square().sum(1, keepdim=True)).clamp(0, 1)
    square = (offset - nearest * along).square().sum(1, keepdim=True)
    width = _uniform(rng, *SLIP_WIDTH, count, 1, 1, 1)
    stroke = (square < width.square()).float()
    kind = _uniform(rng, 0, 1, count, 1, 1, 1)
    drawn = torch.where(kind < SLIP_SHARE, drawn.maximum(stroke), drawn)
    return torch.where(kind > 1 - SLIP_SHARE, drawn * (1 - stroke), drawn)


def draw_bitmaps(
    labels: np.ndarray, rng: np.random.Generator, characters: str = DIGITS
) -> torch.Tensor:
    """Draw one bent, re-inked glyph a label: (N, 1, BITMAP, BITMAP)."""
    count = len(labels)
    bank = glyph_bank(characters)
    glyphs = bank[rng.integers(len(bank), size=count), labels][:, None]

    # The sampling grid maps the bitmap back to the glyph, so sizes invert.
    angle = _uniform(rng, -MAX_ROTATION, MAX_ROTATION, count)
    shear = _uniform(rng, -MAX_SHEAR, MAX_SHEAR, count)
    tall = INK / GLYPH / _uniform(rng, *HEIGHT, count)
    wide = tall / _uniform(rng, *ASPECT, count)
    cos, sin = angle.cos(), angle.sin()
    affine = torch.stack(
        [
            torch.stack([wide * (cos + shear * sin),
                         wide * (shear * cos - sin)], 1),
            torch.stack([tall * sin, tall * cos], 1),
        ],
        dim=1,
    )  # fmt: skip
    shift = _uniform(rng, -MAX_SHIFT, MAX_SHIFT, count, 2, 1)
    grid = F.affine_grid(
        torch.cat([affine, shift], 2),
        [count, 1, BITMAP, BITMAP],
        align_corners=False,
    )
    # Writers give the upper and the lower half different shares.
    half = INK / GLYPH
    rise = half * _uniform(rng, -MAX_RISE, MAX_RISE, count, 1, 1)
    grid[..., 1] += rise * (1 - (grid[..., 1] / half) ** 2)
    bend = _coarse_field(rng, MAX_BEND, count, 2, 4, 4)
    drawn = F.grid_sample(
        glyphs, grid + bend.permute(0, 2, 3, 1), align_corners=False
    )
    drawn = _slip(drawn, rng)

    # Blurring, then cutting at a level, thickens or thins the stroke.
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    drawn = F.conv2d(drawn, kernel.view(1, 1, 1, 5), padding=(0, 2))
    drawn = F.conv2d(drawn, kernel.view(1, 1, 5, 1), padding=(2, 0))
    level = _uniform(rng, *INK_LEVEL, count, 1, 1, 1)
    level = level + _coarse_field(rng, MAX_UNEVEN, count, 1, 6, 6)
    return torch.sigmoid((drawn - level.clamp(0.08)) * 20)


def _with_noise(
    bitmaps: torch.Tensor, image_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Turn bitmaps into grey images: (N, image_size, image_size), uint8."""
    count = len(bitmaps)
    size = (image_size, image_size)
    grey = F.interpolate(bitmaps, size, mode='bilinear', antialias=True)
    grey = grey[:, 0].numpy() * rng.uniform(*CONTRAST, (count, 1, 1))
    noise = rng.standard_normal(grey.shape, dtype=np.float32)
    grey = grey + rng.uniform(0, MAX_NOISE, (count, 1, 1)) * noise
    return np.rint(255 * grey.clip(0, 1)).astype(np.uint8)


def render_digits(
    count: int, image_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Render random digits; the same arguments give the same images.

    Args:
        count: Number of renderings N.
        image_size: Side of the images in pixels.
        seed: Seed of every random choice.

    Returns:
        RGB images, uint8, shape (N, image_size, image_size, 3), and their
        labels 0 to 9, int64, shape (N,).
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(CLASS_NAMES), size=count)
    images = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        grey = _with_noise(draw_bitmaps(labels[part], rng), image_size, rng)
        images[part] = grey[..., None]
    return images, labels
