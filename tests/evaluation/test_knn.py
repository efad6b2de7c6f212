"""k-NN against scikit-learn, against loops, and in bounded memory."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.utils._python_dispatch import TorchDispatchMode

from must_mm.evaluation import knn_accuracy, knn_predict


@pytest.fixture
def data():
    """Overlapping classes: neighbours disagree, so that weights matter."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 8, generator=random)
    labels = torch.randint(5, (400,), generator=random)
    noise = 1.5 * torch.randn(400, 8, generator=random)
    scale = torch.rand(400, 1, generator=random) + 0.5  # cosine ignores it
    features = scale * (centres[labels] + noise)
    return features[:300], labels[:300], features[300:], labels[300:]


@pytest.mark.parametrize('k, temperature', [(1, 0.07), (10, 0.07), (30, 0.5)])
def test_equals_scikit_learn(data, k, temperature):
    bank, bank_labels, queries, labels = data
    reference = KNeighborsClassifier(
        k,
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / temperature),
    ).fit(bank.double().numpy(), bank_labels.numpy())
    expected = reference.predict(queries.double().numpy())
    found = knn_predict(queries, bank, bank_labels, k, temperature)
    assert found.tolist() == expected.tolist()
    accuracy = knn_accuracy(queries, labels, bank, bank_labels, k, temperature)
    assert accuracy == np.mean(expected == labels.numpy())


def test_equals_loops(data):
    """The definition, written out."""
    bank, bank_labels, queries, _ = data
    expected = []
    for query in queries[:30].double():
        votes = [0.0] * 5
        similar = sorted(
            (
                (
                    float(query @ entry / query.norm() / entry.norm()),
                    int(label),
                )
                for entry, label in zip(
                    bank.double(), bank_labels, strict=True
                )
            ),
            reverse=True,
        )
        for similarity, label in similar[:10]:
            votes[label] += math.exp(similarity / 0.07)
        expected.append(votes.index(max(votes)))
    found = knn_predict(queries[:30], bank, bank_labels)
    assert found.tolist() == expected


@pytest.mark.parametrize('query_chunk, bank_chunk', [(1, 1), (7, 64)])
def test_chunks_change_nothing(data, query_chunk, bank_chunk):
    """Down to chunks smaller than k."""
    bank, bank_labels, queries, _ = data
    queries = queries[:20]
    expected = knn_predict(queries, bank, bank_labels)
    found = knn_predict(
        queries,
        bank,
        bank_labels,
        query_chunk=query_chunk,
        bank_chunk=bank_chunk,
    )
    assert torch.equal(found, expected)


def test_no_tensor_exceeds_a_chunk():
    """What lets a bank of ImageNet's size fit: no N x D, no Q x N."""

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for item in out if isinstance(out, tuple) else (out,):
                if isinstance(item, torch.Tensor):
                    self.numel = max(self.numel, item.numel())
            return out

    bank, labels = torch.randn(2000, 4), torch.arange(2000) % 3
    with Largest() as largest:
        knn_predict(
            torch.randn(100, 4), bank, labels, query_chunk=10, bank_chunk=150
        )
    assert largest.numel == 10 * 150


def test_votes_do_not_overflow(data):
    """exp(1 / 0.001) has no number in float32."""
    bank, bank_labels, _, _ = data
    found = knn_predict(bank, bank, bank_labels, temperature=0.001)
    assert torch.equal(found, bank_labels)


@pytest.mark.parametrize('k', [0, 301])
def test_k_outside_the_bank(data, k):
    with pytest.raises(ValueError, match=f'k={k} .* has 300 entries'):
        knn_predict(data[2], data[0], data[1], k=k)


def test_unusable_input_says_so(data):
    bank, bank_labels, queries, labels = data
    with pytest.raises(ValueError, match='bank: labels are missing'):
        knn_predict(queries, bank, None)
    with pytest.raises(ValueError, match='test features: labels are missing'):
        knn_accuracy(queries, None, bank, bank_labels)
    with pytest.raises(ValueError, match='labels must be integers from 0'):
        knn_predict(queries, bank, bank_labels - 1)
    with pytest.raises(ValueError, match='temperature must be positive'):
        knn_predict(queries, bank, bank_labels, temperature=0)
    with pytest.raises(ValueError, match=r'\(300, 8\) and \(299,\)'):
        knn_predict(queries, bank, bank_labels[1:])
    with pytest.raises(ValueError, match='bank: there are no features'):
        knn_predict(queries, bank[:0], bank_labels[:0])
    with pytest.raises(ValueError, match='width 8, test features 7'):
        knn_accuracy(queries[:, 1:], labels, bank, bank_labels)
    for bad in (math.nan, math.inf):
        spoilt = bank.clone()
        spoilt[3, 3] = bad
        with pytest.raises(ValueError, match='bank: some .* not finite'):
            knn_predict(queries, spoilt, bank_labels)
