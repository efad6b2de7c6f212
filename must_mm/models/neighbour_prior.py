"""How far the labels of neighbours let a start's preferences be taken out.

A start under another domain prefers some classes. How often it names a class
is then no estimate of its share, and expectation-maximisation on its
probabilities (Saerens et al. 2002), which trusts them, is further off. But
images that the start sees alike mostly are of one class. So the preference is
taken out step by step as long as the labels of neighbours agree: soft
neighbourhoods judge self-trained networks without labels in Saito et al.
(arXiv 2108.10860), too.
"""

import torch
import torch.nn.functional as F

from .class_prior import balancing_shift, uniform_prior

NEIGHBOURS = 10
STEPS = 10
#: Share of the best agreement that is kept: differences below are chance.
KEPT = 0.98
HALF = 0.5  # of the whole shift, at most, where labels are balanced
#: Of an even share: no class is given up.
SMALLEST = 0.1
#: Of the iteration that solves for the whole shift.
FIRST_STEPS = 100
AT_ONCE = 2**26  # similarities of pairs in memory, 256 MiB


def nearest_others(
    feats: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k most similar other images of each.

    Args:
        feats: Features, (N, E), of any length.
        k: Neighbours, where there are as many others.

    Returns:
        Cosine similarities, the most similar first, and indices, both (N, k).
    """
    feats, found = F.normalize(feats.float(), dim=1), []
    count = len(feats)
    k = min(k, count - 1)
    everyone = torch.arange(count, device=feats.device)
    for part in everyone.split(max(1, AT_ONCE // count)):
        cosine = feats[part] @ feats.T
        cosine[torch.arange(len(part)), part] = -2.0  # not its own neighbour
        found.append(cosine.topk(k, dim=1))
    cosines, indices = zip(*found, strict=True)
    return torch.cat(cosines), torch.cat(indices)


def told_by_neighbours(labels: torch.Tensor, near: torch.Tensor) -> float:
    """Share of a label's entropy that a neighbour's label tells.

    The uncertainty coefficient (Theil 1970) of the labels of pairs of
    neighbours, taken in both directions.

    Args:
        labels: (N,).
        near: Indices of neighbours, (N, k); an image itself stands for one
            that is left out.

    Returns:
        In [0, 1]; 0 where all labels are the same.
    """
    count = int(labels.max()) + 1
    own = torch.arange(len(labels), device=near.device)[:, None]
    pairs = (count * labels[:, None] + labels[near])[near != own]
    joint = torch.bincount(pairs, minlength=count * count).double()
    joint = joint.reshape(count, count)
    joint = (joint + joint.T) / (2 * joint.sum())
    shares = joint.sum(dim=1)
    entropy = -torch.special.xlogy(shares, shares).sum()
    if not entropy > 0:  # nor where there are no pairs
        return 0.0
    both = -torch.special.xlogy(joint, joint).sum()
    return float((2 * entropy - both) / entropy)


def shift_by_neighbours(
    log_probs: torch.Tensor, near: torch.Tensor, prior: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """How far labels may be shifted towards a prior.

    The logits are shifted by a part of what would make their mean the prior,
    by tenths, from the part on whose labels agree best with their neighbours',
    as far as 98 % of that agreement are kept.

    Args:
        log_probs: Logarithms of the start's probabilities of N images, or
            logits, (N, K).
        near: Indices of the nearest images of each, (N, k).
        prior: Share of each class, (K,).

    Returns:
        The part, in [0, 1], 1 where there are too few images to tell; and
        the shifted logits, (N, K).
    """
    nothing = torch.zeros_like(prior)
    shift = balancing_shift(log_probs, prior, nothing, FIRST_STEPS)

    def shifted(step: int) -> torch.Tensor:
        return log_probs + step / STEPS * shift

    if len(log_probs) <= NEIGHBOURS:
        return 1.0, shifted(STEPS)
    labels = [shifted(step).argmax(dim=1) for step in range(STEPS + 1)]
    told = [told_by_neighbours(one, near) for one in labels]
    last = best = max(range(len(told)), key=told.__getitem__)
    while last < STEPS and told[last + 1] >= KEPT * told[best]:
        last += 1
    # a shift that changes no label is not the neighbours' word
    while last > 0 and torch.equal(labels[last], labels[last - 1]):
        last -= 1
    return last / STEPS, shifted(last)


def balanced_by_neighbours(
    probs: torch.Tensor, near: torch.Tensor, prior: torch.Tensor
) -> torch.Tensor:
    """Balance predictions as far as neighbours agree, half the way at most.

    Args:
        probs: Probabilities of N images, (N, K).
        near: Indices of the nearest images of each, (N, k).
        prior: Share of each class, (K,).

    Returns:
        Probabilities, (N, K).
    """
    said = probs.clamp(min=torch.finfo(probs.dtype).tiny).log()
    part, shifted = shift_by_neighbours(said, near, prior)
    if part > HALF:
        shifted = torch.lerp(said, shifted, HALF / part)
    return shifted.softmax(dim=1)


def neighbour_prior(
    log_probs: torch.Tensor, feats: torch.Tensor
) -> torch.Tensor:
    """Estimate the share of each class from the start's predictions.

    They lie between the start's own shares and even ones, where
    :func:`shift_by_neighbours` ends.

    Args:
        log_probs: Logarithms of the start's probabilities of N images, or
            logits, (N, K).
        feats: Its features of these images, (N, E).

    Returns:
        Shares of sum 1, (K,), none below a tenth of an even one.
    """
    even = uniform_prior(log_probs.shape[1]).to(log_probs)
    _, near = nearest_others(feats, NEIGHBOURS)
    _, shifted = shift_by_neighbours(log_probs, near, even)
    shares = shifted.softmax(dim=1).mean(dim=0).clamp(min=SMALLEST * even[0])
    return shares / shares.sum()
