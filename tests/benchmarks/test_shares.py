"""Estimates of the classes' shares, where the truth is known."""

import pytest
import torch

from benchmarks.accuracy.shares import by_expectation, estimates, off, report
from benchmarks.accuracy.training import Job, predictions_of


def test_expectation_maximisation_finds_shares_of_a_fair_classifier():
    """Two normal classes whose posterior takes them for even; within 3 %."""
    draws = torch.Generator().manual_seed(0)
    places = torch.randn(4000, generator=draws)
    places += torch.where(torch.arange(4000) < 3200, 1.0, -1.0)
    found = by_expectation(torch.stack([2 * places, torch.zeros(4000)], 1))
    assert abs(found[0].item() - 0.8) < 0.03


def test_distance_is_total_variation():
    labels = torch.tensor([0, 0, 0, 1])
    assert off(torch.tensor([0.5, 0.5]), labels) == pytest.approx(0.25)


def test_the_table_has_what_is_kept(tmp_path):
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 10
    logits = 3 * torch.eye(10)[labels]
    logits += torch.randn(200, 10, generator=draws)
    start = dict(logits=logits, feats=logits)
    path = predictions_of(tmp_path, Job('digits', 'balanced', 2, 0))
    path.parent.mkdir()
    torch.save(dict(train=dict(labels=labels, start=start)), path)
    text = report(tmp_path)
    assert '| digits (1) |' in text and '| even | 0.00 |' in text
    assert all(f'| {name} |' in text for name in estimates(logits, logits))
