"""Which images are labelled: those that the review asks for, or any."""

from __future__ import annotations

import torch

from must_mm.adapt.lesson import Lesson
from must_mm.evaluation.duplicates import (
    extra_copies,
    near_duplicates,
    small_copies,
)
from must_mm.evaluation.selection import choose_for_review

BATCH = 64


def by_review(lesson: Lesson, pixels: torch.Tensor, count: int) -> list[int]:
    """Indices of the images that must-adapt would ask for.

    Args:
        lesson: What N images are to be called.
        pixels: The images, (N, 3, H, W).
        count: How many.
    """
    copies = torch.cat([small_copies(part) for part in pixels.split(BATCH)])
    extra = extra_copies(near_duplicates(copies.float()))
    return choose_for_review(lesson.graph, lesson.doubt, count, extra)


def by_chance(total: int, count: int, seed: int) -> list[int]:
    """Indices drawn at random; more of them hold those of fewer."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randperm(total, generator=draw)[:count].tolist()
