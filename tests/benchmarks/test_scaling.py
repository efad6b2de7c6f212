"""What training costs: counts against arithmetic and two processes."""

import sys

import pytest
import torch

from benchmarks.scaling import StepCost, check, main, step_cost, table
from tests.tiny import SIZE

COST = StepCost(
    params=300, trained=100, classes=10, flops=1e9, activations=50, casts=7
)


def test_memory_of_weights_gradients_moments_and_activations():
    # teacher and student, gradient, two moments; four bytes each
    assert COST.memory(batch=8, gpus=1) == 4 * (300 + 300) + 7 + 8 * 50
    assert COST.memory(8, 2) - COST.memory(8, 1) == 4 * 100


@pytest.mark.parametrize(
    'gpus, gradients', [(1, 0), (2, 1), (64, 2 * 63 / 64)]
)
def test_network_of_the_ring(gpus, gradients):
    gathered = 2 * (gpus - 1) * 4 * 10
    assert COST.network(gpus) == pytest.approx(gradients * 400 + gathered)


def test_table_is_arithmetic():
    rows = table(COST, [4], [3.6e6], 2, 10, 1.0, 100, 1.0).splitlines()
    cells = [cell.strip() for cell in rows[-1].split('|')[1:-1]]
    # 1000 images/s on a GPU; 7.2 M images on four take half an hour
    assert cells[0] == '4' and cells[2:5] == ['4000', '400', '10']
    assert cells[-1] == '0.5'


def test_counts_of_a_step(config):
    """Operations of the layers; four passes over what is a layer.

    Teacher forward, student forward, and twice that backward. The decoder
    and the projection of patches are the student's alone, the attention's
    products are counted too: within 20 %.
    """
    cost = step_cost(config, SIZE)
    tokens = (SIZE // 8) ** 2 + 1
    block = 12 * 32 * 32 * tokens + 2 * 32 * tokens**2
    patches = 3 * 64 * 32 * (tokens - 1)
    assert cost.flops == pytest.approx(4 * 2 * (2 * block + patches), rel=0.2)
    assert cost.params > cost.trained > cost.params / 3
    # more images, the same cost of each
    again = step_cost(config, SIZE, batch=3)
    assert again.flops == pytest.approx(cost.flops, rel=1e-3)
    assert again.activations == pytest.approx(cost.activations, rel=0.02)


def test_operations_of_a_block(config):
    """Exact: matrices four times, the products of attention 1 + 1 + 2.5.

    Their backward pass multiplies five times where the forward pass does
    twice, as the weights of attention are computed again.
    """
    width, tokens = 32, (SIZE // 8) ** 2 + 1
    few = step_cost(config, SIZE).flops
    config.model.backbone.arch.num_layers += 3
    more = step_cost(config, SIZE).flops
    matrices = 4 * 2 * 12 * width**2 * tokens
    attention = 4.5 * 4 * width * tokens**2
    assert (more - few) / 3 == pytest.approx(matrices + attention, rel=1e-6)


def test_kept_tensors_of_a_layer(config):
    """A larger model keeps more; weights are not counted."""
    small = step_cost(config, SIZE)
    config.model.backbone.arch.num_layers = 4
    config.model.local_features = None
    deep = step_cost(config, SIZE)
    assert deep.activations > 1.3 * small.activations
    assert small.casts < 0.2 * small.activations


@pytest.mark.dist
@pytest.mark.skipif(
    not sys.platform.startswith('linux') or torch.cuda.is_available(),
    reason='counts the bytes of the loopback device',
)
def test_two_processes_send_what_is_counted(config):
    """At least what is counted; headers and other programs add to it."""
    row = check(config, SIZE, 2).splitlines()[2]
    assert row.startswith('| bytes sent')
    assert float(row.split('|')[-2]) >= 1


def test_command(config, tmp_path, capsys):
    config.model.pseudo_labels = dict(alignment=dict(strength='auto'))
    config.dump(tmp_path / 'tiny.py')
    main([str(tmp_path / 'tiny.py'), '--gpus', '1', '16', '--images', '2e6'])
    printed = capsys.readouterr().out
    assert 'GFLOP' in printed and '2 M images' in printed
    assert len(printed.strip().splitlines()) == 6
