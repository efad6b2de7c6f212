"""The queue: neighbours, draws, order, and a state that can be resumed."""

import pytest
import torch
import torch.nn.functional as F

from must_mm.models import neighbour_queue
from must_mm.models.neighbour_queue import NNQueue

SIZE, DIM = 12, 5


def unit_vectors(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, DIM, generator=generator))


@pytest.fixture
def queue():
    torch.manual_seed(0)
    return NNQueue(SIZE, DIM)


def test_starts_with_unit_vectors_of_no_sample(queue):
    torch.testing.assert_close(queue.feats.norm(dim=1), torch.ones(SIZE))
    assert (queue.labels == -1).all() and (queue.sample_ids == -1).all()
    assert queue.pointer == 0


def test_nearest_by_brute_force(queue):
    """The most similar entry that is not of the sample itself."""
    ids = torch.arange(SIZE) % 4  # each sample three times in the queue
    queue.sample_ids.copy_(ids)
    query, query_ids = unit_vectors(8, 1), torch.arange(8) % 5
    found = queue.lookup(query, query_ids)
    excluded_one = False
    for row, (vector, sample) in enumerate(zip(query, query_ids, strict=True)):
        ranked = sorted(range(SIZE), key=lambda i: -queue.feats[i] @ vector)
        allowed = [i for i in ranked if ids[i] != sample]
        assert found[row] == allowed[0]
        excluded_one |= ranked[0] != allowed[0]
    assert excluded_one  # the exclusion decided at least one


def test_draws_are_from_the_nearest_and_uniform():
    torch.manual_seed(0)
    queue = NNQueue(SIZE, DIM, topk=3)
    query, ids = unit_vectors(4, 1), torch.arange(4)
    nearest = (query @ queue.feats.T).topk(3).indices
    counts = torch.zeros(4, 3)
    for _ in range(1000):
        drawn = queue.lookup(query, ids)
        counts += nearest == drawn[:, None]
    assert (counts.sum(1) == 1000).all()  # never another entry
    # a share of 1/3 in 1000 draws has a spread of 15: five of them
    assert ((counts - 1000 / 3).abs() < 75).all()


def test_draws_are_resumed():
    """The state dict holds what the next draws depend on."""
    torch.manual_seed(0)
    queue, other = (NNQueue(SIZE, DIM, topk=5) for _ in range(2))
    query, ids = unit_vectors(6, 1), torch.arange(6)
    queue.lookup(query, ids)
    other.load_state_dict(queue.state_dict())
    torch.manual_seed(5)  # the global generator is elsewhere after a resume
    draws = [[q.lookup(query, ids) for _ in range(4)] for q in (queue, other)]
    for ours, theirs in zip(*draws, strict=True):
        assert torch.equal(ours, theirs)
    assert len({tuple(draw.tolist()) for draw in draws[0]}) > 1


def test_first_in_first_out(queue):
    """After any number of batches it holds the last samples, in place."""
    vectors = unit_vectors(5 * 4, 2)
    for step in range(5):
        rows = slice(4 * step, 4 * step + 4)
        ids = torch.arange(20)[rows]
        queue.enqueue(vectors[rows], ids % 3, ids)
        assert queue.pointer == 4 * (step + 1) % SIZE
    expected = torch.tensor([12, 13, 14, 15, 16, 17, 18, 19, 8, 9, 10, 11])
    assert torch.equal(queue.sample_ids, expected)
    assert torch.equal(queue.labels, expected % 3)
    assert torch.equal(queue.feats, vectors[expected])


def test_batch_that_does_not_divide_names_both(queue):
    with pytest.raises(ValueError, match=r'queue.size \(12\).*batch \(5 = '):
        queue.enqueue(unit_vectors(5), torch.zeros(5).long(), torch.arange(5))


@pytest.mark.parametrize(
    'options, error',
    [
        (dict(topk=SIZE + 1), r'queue.topk .*queue.size \(12\)'),
        (dict(topk=0), 'queue.topk must be a positive integer'),
        (dict(size='12'), 'queue.size must be a positive integer'),
        (dict(dim=4.0), 'queue.dim must be a positive integer'),
    ],
)
def test_out_of_range_names_the_keys(options, error):
    with pytest.raises(ValueError, match=error):
        NNQueue(**dict(size=SIZE, dim=DIM) | options)


def test_draws_are_uniform_and_their_own():
    """Chi-squared of 20,000 draws of 20, below its 99.9 % point (43.8)."""
    queue = NNQueue(size=64, dim=4, topk=20)
    draws = torch.cat([queue._draw(50) for _ in range(400)])
    counts = torch.bincount(draws, minlength=20).double()
    assert len(counts) == 20
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8
    rows = draws.view(400, 50)
    # neither steps nor places repeat one another (agree in 1 of 20)
    for one, other in ((rows[1:], rows[:-1]), (rows[:, 1:], rows[:, :-1])):
        assert abs((one == other).double().mean() - 0.05) < 0.01


def test_draws_are_those_of_one_process(monkeypatch):
    """Two ranks draw what one does for the batch of both."""
    queue = NNQueue(size=64, dim=4, topk=20)
    seed = queue.seed.clone()
    whole = queue._draw(8)
    for rank in (0, 1):
        queue.seed.copy_(seed)
        monkeypatch.setattr(
            neighbour_queue, 'get_rank', lambda rank=rank: rank
        )
        assert torch.equal(queue._draw(4), whole[4 * rank :][:4])
