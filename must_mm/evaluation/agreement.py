"""Several runs from one start: where they agree, and which speaks for all."""

import torch


def consensus(probs: torch.Tensor) -> torch.Tensor:
    """Mean probabilities (N, K) of R runs, (R, N, K)."""
    return probs.mean(dim=0)


def agreement(votes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of the runs that say of an image what is said in the end.

    Args:
        votes: What each of R runs says, (R, N).
        labels: What is said in the end, (N,).

    Returns:
        (N,), in [0, 1].
    """
    return (votes == labels).double().mean(dim=0)


def disagreement(labels: torch.Tensor) -> float:
    """Share of the images on which two runs differ, over all pairs of runs.

    Of runs whose errors are independent and that are calibrated together, it
    is their expected error (arXiv 2106.13799); runs from one start share
    many errors, so that it is less.

    Args:
        labels: Predicted classes, (R, N), of at least two runs.
    """
    runs = len(labels)
    differ = (labels[:, None] != labels[None]).double().mean()
    return (differ * runs / (runs - 1)).item()


def spokesman(probs: torch.Tensor) -> int:
    """Index of the run that agrees best with the consensus of all.

    The mean of the runs is taken for the truth, and the run with the highest
    accuracy on it chosen, as EnsV chooses models; among
    equals the one of lowest cross-entropy to the consensus.

    Args:
        probs: (R, N, K).
    """
    mean = consensus(probs)
    agreed = (probs.argmax(dim=2) == mean.argmax(dim=1)).double().mean(dim=1)
    tiny = torch.finfo(probs.dtype).tiny
    entropy = -(mean * probs.clamp(min=tiny).log()).sum(dim=2).mean(dim=1)
    return max(
        range(len(probs)), key=lambda r: (agreed[r].item(), -entropy[r].item())
    )
