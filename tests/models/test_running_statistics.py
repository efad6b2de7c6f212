"""Batch norms under a view that is not to be averaged."""

import pytest
import torch
from torch import nn

from must_mm.models.running_statistics import running_statistics_kept


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2)
    )


def buffers(network):
    return {n: b.clone() for n, b in network.named_buffers()}


def test_the_output_is_the_same_the_averages_stay(network):
    image = torch.randn(5, 3, 8, 8)
    network(image)
    before = buffers(network)
    with running_statistics_kept(network):
        found = network(image)
    assert all(torch.equal(b, before[n]) for n, b in buffers(network).items())
    assert torch.equal(found, network(image))
    # outside, they move
    assert not torch.equal(network[1].running_mean, before['1.running_mean'])


def test_frozen_norms_stay_frozen(network):
    image = torch.randn(5, 3, 8, 8)
    network(image)
    network[1].eval()
    expected = network(image)
    with running_statistics_kept(network):
        assert torch.equal(network(image), expected)


def test_an_error_restores_them(network):
    with pytest.raises(RuntimeError), running_statistics_kept(network):
        raise RuntimeError
    assert network[1].track_running_stats
    with running_statistics_kept(network, enabled=False):
        assert network[1].track_running_stats
