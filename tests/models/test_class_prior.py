"""The estimated prior, where the truth is known."""

import pytest
import torch

from must_mm.models.class_prior import estimate_prior


def two_classes(share: float, count: int, seed: int = 0):
    """Images at N(-1, 1) or N(1, 1); the posterior for equal classes."""
    generator = torch.Generator().manual_seed(seed)
    first = int(share * count)
    places = torch.randn(count, generator=generator)
    places += torch.where(torch.arange(count) < first, 1.0, -1.0)
    # log N(x; 1, 1) - log N(x; -1, 1) = 2 x
    return torch.stack([2 * places, torch.zeros(count)], 1).softmax(1)


def estimated(probs, **options):
    values, classes = probs.sort(dim=1, descending=True)
    return estimate_prior(values, classes, probs.shape[1], **options)


@pytest.mark.parametrize('share', [0.5, 0.8, 0.95])
def test_the_share_is_found(share):
    """Within 3 %; the maximum likelihood estimate of 4,000 images of these
    classes has a standard error below 1 %."""
    probs = two_classes(share, 4000)
    found = estimated(probs)
    assert abs(found[0] - share) < 0.03
    # the mean of the posteriors, the obvious estimate, is pulled to the middle
    if share > 0.5:
        assert probs[:, 0].mean() < share - 0.03


def test_one_step_by_hand():
    # for equal classes the posterior is the probability itself
    probs = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    found = estimated(probs, pseudo_count=0, steps=1)
    torch.testing.assert_close(found, torch.tensor([0.6, 0.4]))
    found = estimated(probs, pseudo_count=1, steps=1)
    torch.testing.assert_close(found, torch.tensor([2.2, 1.8]) / 4)


def test_no_class_is_given_up():
    probs = torch.tensor([[0.99, 0.01, 0.0]] * 100)
    found = estimated(probs)
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))
    assert (found > 0.9 / 103).all()
