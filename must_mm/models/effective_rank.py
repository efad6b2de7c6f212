"""How many directions features use: it falls before a run collapses."""

import torch


def effective_rank(feats: torch.Tensor) -> torch.Tensor:
    """Exponential of the entropy of the singular values.

    Roy and Vetterli, "The effective rank" (EUSIPCO 2007); RankMe (Garrido et
    al., arXiv 2210.02885, Eq. 1) reads it as a sign of health.

    Args:
        feats: Features, (B, E).

    Returns:
        A scalar from 1, where all rows are parallel, to min(B, E), where the
        singular values are equal; 0 where all features are.
    """
    values = torch.linalg.svdvals(feats.float())
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp() * (values.sum() > 0)
