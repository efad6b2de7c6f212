"""Copies are found however they were saved; other images are not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from must_mm.evaluation.duplicates import (
    extra_copies,
    near_duplicates,
    small_copies,
)


def tensor(image: Image.Image) -> torch.Tensor:
    image = image.resize((64, 64), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def photo(seed: int) -> Image.Image:
    """Smooth random colours, as images are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((300, 200), Image.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=quality)
    return Image.open(buffer).convert('RGB')


@pytest.fixture(scope='module')
def copies():
    one, two = photo(0), photo(1)
    images = [
        photo(2),
        one,
        jpeg(one, 40),
        two,
        one.resize((90, 60)),
        photo(3),
        two.point(lambda value: int(0.8 * value + 20)),  # less contrast
        Image.new('RGB', (300, 200), 'red'),
        Image.new('RGB', (300, 200), 'blue'),
    ]
    return small_copies(torch.stack([tensor(image) for image in images]))


def test_copies_are_grouped(copies):
    groups = near_duplicates(copies)
    assert groups == [[1, 2, 4], [3, 6]]
    assert extra_copies(groups) == {2, 4, 6}


@pytest.mark.parametrize('chunk', [1, 2, 4, 100])
def test_chunks_change_nothing(copies, chunk):
    assert near_duplicates(copies, chunk=chunk) == near_duplicates(copies)


def test_nothing_is_alike():
    copies = small_copies(torch.stack([tensor(photo(k)) for k in range(9)]))
    assert near_duplicates(copies) == []
    torch.testing.assert_close(copies.norm(dim=1), torch.ones(9))
