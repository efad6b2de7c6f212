"""k nearest neighbours by cosine, with weighted votes (arXiv 2304.10520)."""

import torch
import torch.nn.functional as F

from .checks import check_features, check_pair


def nearest(
    queries: torch.Tensor,
    bank: torch.Tensor,
    k: int,
    bank_chunk: int = 65536,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the ``k`` most similar bank entries of each query.

    The bank is passed over in chunks, keeping the best so far, so that the
    largest matrix is (Q, bank_chunk).

    Args:
        queries: (Q, D).
        bank: (N, D), on any device; chunks are moved to the queries'.
        k: Number of neighbours, at most N.
        bank_chunk: Bank entries compared at once.

    Returns:
        Cosine similarities in [-1, 1], most similar first, and indices into
        the bank, both (Q, k).
    """
    queries = F.normalize(queries.float(), dim=1)
    best = queries.new_empty(len(queries), 0)
    index = best.long()
    for start in range(0, len(bank), bank_chunk):
        chunk = bank[start : start + bank_chunk].to(queries.device)
        similarity = queries @ F.normalize(chunk.float(), dim=1).T
        found, where = similarity.topk(min(k, len(chunk)), dim=1)
        best = torch.cat([best, found], dim=1)
        index = torch.cat([index, where + start], dim=1)
        best, kept = best.topk(min(k, best.shape[1]), dim=1)
        index = index.gather(1, kept)
    return best, index


def knn_predict(
    queries: torch.Tensor,
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    k: int = 10,
    temperature: float = 0.07,
    query_chunk: int = 1024,
    bank_chunk: int = 65536,
) -> torch.Tensor:
    """Classify by the votes of the nearest neighbours.

    Each of the ``k`` most similar bank entries (cosine) votes for its label
    with weight ``exp(similarity / temperature)``. No matrix is larger than
    the larger of (query_chunk, bank_chunk) and (bank_chunk, D), 268 MB each
    by default (D = 1024), however large the bank.

    Args:
        queries: Features to classify, (Q, D), of any length.
        bank: Labelled features, (N, D), of any length.
        bank_labels: (N,), integers from 0.
        k: Number of neighbours.
        temperature: Temperature of the votes, positive.
        query_chunk: Queries classified at once.
        bank_chunk: Bank entries compared at once.

    Returns:
        Predicted labels, (Q,).

    Raises:
        ValueError: If ``k`` is not in 1 … N, the temperature is not positive,
            or the features are unusable.
    """
    check_features(bank, bank_labels, 'bank')
    if not 1 <= k <= len(bank):
        raise ValueError(
            f'k={k} neighbours are asked for, the bank has {len(bank)} '
            'entries: lower k or enlarge the bank'
        )
    if temperature <= 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    bank_labels = bank_labels.to(queries.device)
    num_classes = int(bank_labels.max()) + 1
    predictions = []
    for chunk in queries.split(query_chunk):
        similarity, index = nearest(chunk, bank, k, bank_chunk)
        # proportional to exp(similarity / temperature), and cannot overflow
        weights = (similarity / temperature).softmax(dim=1)
        votes = weights.new_zeros(len(chunk), num_classes)
        votes.scatter_add_(1, bank_labels[index], weights)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions)


def knn_accuracy(
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    k: int = 10,
    temperature: float = 0.07,
) -> float:
    """Share of queries that :func:`knn_predict` labels right, in [0, 1].

    Args:
        queries: (Q, D).
        query_labels: (Q,), integers from 0.
        bank: (N, D).
        bank_labels: (N,), integers from 0.
        k: Number of neighbours.
        temperature: Temperature of the votes, positive.

    Raises:
        ValueError: As :func:`knn_predict`, or if the queries are unusable.
    """
    check_pair(bank, bank_labels, queries, query_labels)
    found = knn_predict(queries, bank, bank_labels, k, temperature)
    return (found == query_labels.to(found.device)).sum().item() / len(found)
