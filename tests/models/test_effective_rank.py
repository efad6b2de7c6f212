"""The effective rank by hand (tolerance 1e-5: float32 singular values)."""

import math

import pytest
import torch

from must_mm.models.effective_rank import effective_rank


def test_bounds():
    assert effective_rank(torch.eye(4, 7)).item() == pytest.approx(4)
    parallel = torch.randn(5, 1) * torch.randn(1, 3)
    assert effective_rank(parallel).item() == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.zeros(5, 3)).item() == 0


def test_by_hand():
    feats = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(feats).item() == pytest.approx(math.exp(entropy))


def test_neither_length_nor_rotation_matters():
    feats = torch.randn(8, 4)
    turn, _ = torch.linalg.qr(torch.randn(4, 4))
    expected = effective_rank(feats).item()
    assert effective_rank(7 * feats @ turn).item() == pytest.approx(
        expected, rel=1e-5
    )
