"""Distribution alignment: by hand, and the invariants its papers state.

Tolerance 1e-6 relative: float32, a handful of operations.
"""

import pytest
import torch

from must_mm.models.distribution_alignment import (
    DistributionAlignment,
    align_distribution,
)
from tests.models.starts import start_statistics

PROBS = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
MEAN = torch.tensor([0.5, 0.25, 0.25])
UNIFORM = torch.full((3,), 1 / 3)


def test_by_hand():
    # 0.5 * 2/3, 0.3 * 4/3, 0.2 * 4/3, which sum to 1
    torch.testing.assert_close(
        align_distribution(PROBS, MEAN, UNIFORM)[0],
        torch.tensor([1 / 3, 0.4, 0.8 / 3]),
    )
    # a prior of (0.5, 0.4, 0.1): factors 1, 1.6, 0.4; sum 0.1 + 0.16 + 0.32
    torch.testing.assert_close(
        align_distribution(PROBS, MEAN, torch.tensor([0.5, 0.4, 0.1]))[1],
        torch.tensor([0.1, 0.16, 0.32]) / 0.58,
    )


@pytest.mark.parametrize('exponent', [0.3, 0.5, 1.0])
def test_it_subtracts_the_mean_from_the_logits(exponent):
    """DebiasPL, Eq. 2: ``softmax(z - a log p_bar)``, for a uniform prior."""
    debiased = (PROBS.log() - exponent * MEAN.log()).softmax(dim=1)
    torch.testing.assert_close(
        align_distribution(PROBS, MEAN, UNIFORM, exponent), debiased
    )


def test_what_leaves_probabilities_alone():
    same = align_distribution(PROBS, MEAN, UNIFORM, exponent=0)
    torch.testing.assert_close(same, PROBS)
    torch.testing.assert_close(align_distribution(PROBS, MEAN, MEAN), PROBS)


def test_expectation_is_the_prior():
    """AdaMatch, Sec. 3.2: before normalisation the mean is the prior."""
    prior = torch.tensor([0.2, 0.3, 0.5])
    ratio = prior / PROBS.mean(0)
    torch.testing.assert_close((PROBS * ratio).mean(0), prior)
    torch.testing.assert_close(
        align_distribution(PROBS, PROBS.mean(0), prior),
        (PROBS * ratio) / (PROBS * ratio).sum(1, keepdim=True),
    )


def test_the_order_of_the_classes_does_not_matter():
    order = torch.tensor([2, 0, 1])
    prior = torch.tensor([0.2, 0.3, 0.5])
    torch.testing.assert_close(
        align_distribution(PROBS[:, order], MEAN[order], prior[order]),
        align_distribution(PROBS, MEAN, prior)[:, order],
    )


def test_a_class_without_probability_is_finite():
    mean = torch.tensor([1.0, 0.0, 0.0])
    aligned = align_distribution(PROBS, mean, UNIFORM)
    assert aligned.isfinite().all()
    assert aligned[0].argmax() == 1
    one_hot = torch.tensor([[1.0, 0.0, 0.0]])
    assert torch.equal(align_distribution(one_hot, mean, UNIFORM), one_hot)


def test_a_favourite_class_loses_its_excess():
    """A bias of all logits towards one class is taken out as it builds up."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    logits = torch.randn(300, 3, generator=generator)
    logits[torch.arange(300), labels] += 1.5
    logits[:, 0] += 2
    probs = logits.softmax(1)
    part = DistributionAlignment(3, momentum=0.5, exponent=1.0)
    for _ in range(20):
        aligned = part(probs)

    def favoured(found):
        return (found.argmax(1) == 0).float().mean().item()

    # most of the excess goes: the mean is that of saturated probabilities
    assert favoured(probs) > 0.6
    assert favoured(aligned) - 1 / 3 < 0.4 * (favoured(probs) - 1 / 3)
    right = (aligned.argmax(1) == labels).float().mean()
    assert right > (probs.argmax(1) == labels).float().mean() + 0.1


def test_the_mean_follows():
    part = DistributionAlignment(3, momentum=0.75, exponent=0.5)
    torch.testing.assert_close(part.mean, UNIFORM)
    found = part(PROBS)
    mean = 0.75 * UNIFORM + 0.25 * PROBS.mean(0)
    torch.testing.assert_close(part.mean, mean)
    torch.testing.assert_close(
        found, align_distribution(PROBS, mean, UNIFORM, 0.5)
    )


def test_it_begins_with_the_start():
    start = start_statistics(PROBS)
    stated = DistributionAlignment(3, prior=[0.5, 0.4, 0.1])
    stated.begin(start)
    torch.testing.assert_close(stated.mean, PROBS.mean(0))
    torch.testing.assert_close(stated.prior, torch.tensor([0.5, 0.4, 0.1]))
    assert 'prior' not in stated.state_dict()
    assert not stated.estimates_prior

    estimated = DistributionAlignment(3, prior='auto')
    assert estimated.estimates_prior
    # most images are of the first class, and their neighbours say so
    labels = torch.tensor([0] * 80 + [1] * 10 + [2] * 10)
    sure = (3 * torch.eye(3)[labels]).softmax(1)
    draws = torch.Generator().manual_seed(0)
    feats = torch.eye(3)[labels] + 0.1 * torch.randn(100, 3, generator=draws)
    estimated.begin(start_statistics(sure, feats))
    assert estimated.prior[0] > 0.6
    # what was estimated is resumed, not estimated again
    assert 'prior' in estimated.state_dict()


@pytest.mark.parametrize(
    'options, key',
    [
        (dict(momentum=1.0), 'momentum'),
        (dict(exponent=1.5), 'exponent'),
        (dict(prior=[0.5, 0.5]), 'prior'),
        (dict(prior=[0.5, 0.4, 0.2]), 'prior'),
        (dict(prior=[1.0, 0.0, 0.0]), 'prior'),
    ],
)
def test_errors_name_the_key(options, key):
    with pytest.raises(ValueError, match=rf'pseudo_labels\.alignment\.{key}'):
        DistributionAlignment(3, **options)
    with pytest.raises(TypeError, match='alignment.prior'):
        DistributionAlignment(3, prior='uniform')
