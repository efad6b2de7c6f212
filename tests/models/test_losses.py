"""Losses against brute force in float64, class by class, sample by sample.

Tolerance where nothing else is said: 1e-6 relative. The fairness loss runs in
float32 (half a unit in the last place is 6e-8) over sums of at most a few
dozen terms; the others run in float64 here and could be held to 1e-12.
"""

import math

import pytest
import torch
import torch.distributed as dist
from torch import nn

from must_mm.models.losses import (
    FairnessLoss,
    GlobalLocalAlignmentLoss,
    alignment_loss,
    confident,
    fairness_loss,
    log_mean_probability,
    self_training_loss,
)
from tests.ranks import on_ranks


def probabilities(rows: int, classes: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(
        rows, classes, generator=generator, dtype=torch.float64
    )
    return logits.softmax(dim=1)


def naive_self_training(logits, probs, threshold):
    terms = []
    for row, q in zip(logits.tolist(), probs.tolist(), strict=True):
        if max(q) > threshold:
            label = q.index(max(q))
            total = sum(math.exp(value) for value in row)
            terms.append(-math.log(math.exp(row[label]) / total))
    return sum(terms) / len(terms) if terms else 0.0


def naive_mean(logits):
    rows = logits.double().softmax(dim=1).tolist()
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize('threshold', [0.35, 0.5, 0.6])
def test_self_training_is_mean_over_confident(threshold):
    logits = torch.randn(16, 5, dtype=torch.float64)
    probs = probabilities(16, 5)
    sure = int((probs.max(1).values > threshold).sum())
    assert 0 < sure < 16  # the mean is over fewer than the batch
    torch.testing.assert_close(
        self_training_loss(logits, probs, confident(probs, threshold)).item(),
        naive_self_training(logits, probs, threshold),
        rtol=1e-12,
        atol=0,
    )


def test_confidence_equal_to_the_threshold_is_not_confident():
    # 0.5 and 0.75 are exact in binary: equality is equality
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    only_second = nn.functional.cross_entropy(logits[1:], torch.tensor([1]))
    assert (
        self_training_loss(logits, probs, confident(probs, 0.5)) == only_second
    )
    assert self_training_loss(logits, probs, confident(probs, 0.75)) == 0


def test_without_confident_samples_loss_and_gradient_are_zero():
    logits = torch.randn(4, 3, requires_grad=True)
    probs = torch.full((4, 3), 1 / 3)
    loss = self_training_loss(logits, probs, confident(probs, 0.7))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(4, 3))


def test_unconfident_samples_get_no_gradient():
    logits = torch.randn(16, 5, dtype=torch.float64, requires_grad=True)
    probs = probabilities(16, 5)
    self_training_loss(logits, probs, confident(probs, 0.5)).backward()
    sure = probs.max(1).values > 0.5
    assert (logits.grad.abs().sum(1) > 0).equal(sure)


def test_mean_probability_and_fairness():
    logits = torch.randn(7, 5)
    mean = naive_mean(logits)
    log_mean = log_mean_probability(logits)
    torch.testing.assert_close(
        log_mean.exp().tolist(), mean, rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        fairness_loss(log_mean).item(),
        -sum(math.log(p) for p in mean) / 5,
        rtol=1e-6,
        atol=0,
    )


def test_fairness_is_least_for_the_uniform_mean():
    uniform = FairnessLoss(6)(torch.zeros(3, 6))
    assert uniform.item() == pytest.approx(math.log(6), rel=1e-6)
    assert FairnessLoss(6)(torch.eye(6)[:3] * 4) > uniform


def test_fairness_gradient_matches_the_naive_definition():
    logits = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    naive = -logits.softmax(1).mean(0).log().mean()
    (expected,) = torch.autograd.grad(naive, logits)
    (found,) = torch.autograd.grad(FairnessLoss(5)(logits), logits)
    # float32 inside: differences of terms that are larger, by cancellation
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-5 * expected.abs().max().item()
    )


def test_fairness_is_finite_for_a_class_without_probability():
    # exp(-200) is zero in float32: log(mean(softmax)) would be -inf
    logits = torch.tensor([[0.0, 0.0, -200.0]] * 4, requires_grad=True)
    assert logits.softmax(1).mean(0)[2] == 0
    loss = FairnessLoss(3)(logits)
    loss.backward()
    # two classes with log 1/2, one with -200 - log 2
    assert loss.item() == pytest.approx((200 + 3 * math.log(2)) / 3, rel=1e-6)
    assert logits.grad.isfinite().all() and logits.grad[:, 2].abs().min() > 0


@pytest.mark.parametrize('momentum', [0.5, 0.9])
def test_moving_average_over_steps_and_restart(momentum):
    loss_of = FairnessLoss(5, momentum, moving_average=True, loss_weight=0.2)
    for _ in range(2):  # twice: the second pass starts afresh
        past = None
        for seed in range(4):
            torch.manual_seed(seed)
            logits = torch.randn(6, 5)
            mean = naive_mean(logits)
            if past is not None:
                mean = [
                    momentum * old + (1 - momentum) * new
                    for old, new in zip(past, mean, strict=True)
                ]
            past = mean
            expected = -sum(math.log(p) for p in mean) / 5 / (1 - momentum)
            assert loss_of(logits).item() == pytest.approx(
                0.2 * expected, rel=1e-6
            )
        loss_of.restart()


def test_moving_average_gradient_flows_through_the_present_only():
    loss_of = FairnessLoss(5, moving_average=True)
    first = torch.randn(6, 5, requires_grad=True)
    second = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    loss_of(first)
    loss_of(second).backward()  # a graph into the past would be kept alive
    assert first.grad is None
    assert not loss_of.log_average.requires_grad
    past = first.detach().double().softmax(1).mean(0)
    mean = 0.5 * past + 0.5 * second.softmax(1).mean(0)
    (expected,) = torch.autograd.grad(-mean.log().mean() / 0.5, second)
    torch.testing.assert_close(
        second.grad, expected, rtol=0, atol=1e-6 * expected.abs().max().item()
    )


def test_moving_average_restarts_finite_for_an_empty_class():
    loss_of = FairnessLoss(3, moving_average=True)
    logits = torch.tensor([[0.0, 0.0, -200.0]] * 4, requires_grad=True)
    loss_of(logits).backward()
    assert logits.grad.isfinite().all()
    assert loss_of(torch.randn(4, 3)).isfinite()


def test_moving_average_is_for_many_classes():
    assert not FairnessLoss(511).moving_average
    assert FairnessLoss(512).moving_average
    assert not FairnessLoss(600, moving_average=False).moving_average


@pytest.mark.parametrize('momentum', [0, 1, -0.1, 1.5])
def test_momentum_out_of_range_names_its_key(momentum):
    with pytest.raises(ValueError, match=r'head\.fairness\.momentum'):
        FairnessLoss(5, momentum)


def test_alignment_is_the_mean_squared_distance():
    local, globe = torch.randn(2, 9, 4, dtype=torch.float64)
    naive = sum(
        sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
        for x, y in zip(local.tolist(), globe.tolist(), strict=True)
    )
    assert alignment_loss(local, globe).item() == pytest.approx(
        naive / 9, rel=1e-12
    )
    weighted = GlobalLocalAlignmentLoss(0.25)(local, globe)
    assert weighted.item() == pytest.approx(naive / 36, rel=1e-12)


def test_alignment_gradient_reaches_both_sides():
    local, globe = torch.randn(2, 9, 4, dtype=torch.float64)
    local.requires_grad_(), globe.requires_grad_()
    alignment_loss(local, globe).backward()
    expected = 2 * (local - globe).detach() / 9
    torch.testing.assert_close(local.grad, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(globe.grad, -expected, rtol=1e-12, atol=0)


# ------------------------------------------------------- two ranks against one


def _network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Linear(4, 5)


def _inputs(step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 4, generator=generator)


def _gradients(network, loss_of, rows: slice) -> list:
    """Three steps; loss and gradients of each."""
    found = []
    for step in range(3):
        network.zero_grad()
        loss = loss_of(network(_inputs(step)[rows]))
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters())])
        found[-1] = [value.clone() for value in found[-1]]
    return found


def _one_rank(rank: int, folder: str) -> None:
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=2,
    )
    rows = slice(4 * rank, 4 * rank + 4)
    found = {}
    for moving in (False, True):
        network = nn.parallel.DistributedDataParallel(_network())
        loss_of = FairnessLoss(5, moving_average=moving)
        found[moving] = _gradients(network, loss_of, rows)
    torch.save(found, f'{folder}/rank{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_ranks_equal_one_on_the_whole_batch(tmp_path):
    """After DDP has averaged, for the batch and the moving-average form.

    Tolerance 1e-5 of the largest entry: float32, sums in another order.
    """
    on_ranks(_one_rank, str(tmp_path))
    for moving in (False, True):
        loss_of = FairnessLoss(5, moving_average=moving)
        expected = _gradients(_network(), loss_of, slice(0, 8))
        for rank in (0, 1):
            found = torch.load(tmp_path / f'rank{rank}.pt')[moving]
            for ours, whole in zip(found, expected, strict=True):
                for one, other in zip(ours, whole, strict=True):
                    bound = 1e-5 * other.abs().max().item()
                    torch.testing.assert_close(one, other, rtol=0, atol=bound)


def test_fairness_with_a_prior():
    """The cross-entropy of the prior; least where the mean equals it."""
    prior = [0.7, 0.2, 0.1]
    loss = FairnessLoss(3, prior=prior, loss_weight=2.0)
    logits = torch.tensor(prior).log().expand(4, 3).clone().requires_grad_()
    value = loss(logits)
    entropy = -sum(share * math.log(share) for share in prior)
    # float32 logarithms of three numbers
    assert value.item() == pytest.approx(2 * entropy, rel=1e-6)
    value.backward()
    assert logits.grad.abs().max() < 1e-6
    assert loss(torch.randn(4, 3)) > value


def test_uniform_prior_is_the_published_loss():
    logits = torch.randn(8, 4)
    given = FairnessLoss(4, prior=[0.25] * 4)(logits)
    # a product with 0.25 instead of a mean
    assert given.item() == pytest.approx(FairnessLoss(4)(logits).item())


def test_the_prior_is_no_weight_of_a_checkpoint():
    assert not FairnessLoss(3, prior=[0.5, 0.25, 0.25]).state_dict()


@pytest.mark.parametrize('prior', [[0.5, 0.5], [1.0, 0.0, 0.0], [1, 1, 1]])
def test_bad_prior(prior):
    with pytest.raises(ValueError, match='head.fairness.prior'):
        FairnessLoss(3, prior=prior)


def _uneven_rank(rank: int, folder) -> None:
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=2,
    )
    whole = torch.load(folder / 'logits.pt')
    logits = (whole[:3], whole[3:])[rank].clone().requires_grad_()
    found = log_mean_probability(logits)
    fairness_loss(found).backward()
    torch.save((found.detach(), logits.grad), folder / f'uneven{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.dist
def test_fairness_of_ranks_with_unlike_batches(tmp_path):
    """The last batch, without drop_last: 3 and 5 samples are 8."""
    torch.manual_seed(0)
    whole = (3 * torch.randn(8, 6)).requires_grad_()
    torch.save(whole.detach(), tmp_path / 'logits.pt')
    on_ranks(_uneven_rank, tmp_path)
    expected = log_mean_probability(whole)
    fairness_loss(expected).backward()
    ranks = [torch.load(tmp_path / f'uneven{rank}.pt') for rank in (0, 1)]
    for found, _ in ranks:
        torch.testing.assert_close(found, expected)
    # every rank has the whole loss, and the gather sums their gradients
    gradient = torch.cat([grad for _, grad in ranks]) / 2
    torch.testing.assert_close(gradient, whole.grad)
