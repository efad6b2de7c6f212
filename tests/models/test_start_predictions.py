"""What is kept of the start's predictions, and the anchor to them."""

from dataclasses import replace

import pytest
import torch

from must_mm.models.start_anchor import StartAnchor
from must_mm.models.start_predictions import KEPT, StartPredictions
from tests.models.starts import start_statistics

#: Half precision has 11 bits: 5e-4 relative.
HALF = dict(rtol=5e-4, atol=5e-4)


def probabilities(count: int, classes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(count, classes, generator=generator)).softmax(1)


def kept(probs):
    part = StartPredictions(probs.shape[1])
    statistics = start_statistics(probs)
    assert len(part) == 0
    part.begin(
        replace(
            statistics,
            classes=statistics.classes[:, :KEPT],
            probs=statistics.probs[:, :KEPT],
        )
    )
    return part


def test_few_classes_are_kept_whole():
    probs = probabilities(6, 4)
    part = kept(probs)
    index = torch.tensor([3, 0, 3])
    torch.testing.assert_close(part(index), probs[index], **HALF)
    assert torch.equal(part.labels(index), probs[index].argmax(1))
    assert len(part) == 6


def test_of_many_classes_the_rest_is_spread():
    probs = probabilities(6, 50)
    found = kept(probs)(torch.arange(6))
    torch.testing.assert_close(found.sum(1), torch.ones(6))
    top = probs.topk(KEPT, dim=1)
    torch.testing.assert_close(
        found.gather(1, top.indices), top.values, **HALF
    )
    rest = torch.ones(6, 50, dtype=torch.bool).scatter(1, top.indices, False)
    spread = found[rest].reshape(6, -1)
    torch.testing.assert_close(spread, spread[:, :1].expand_as(spread))


def test_a_checkpoint_brings_them_back():
    part = kept(probabilities(6, 4))
    other = StartPredictions(4)
    other.load_state_dict(part.state_dict())
    index = torch.arange(6)
    assert torch.equal(other(index), part(index))
    # and takes them away: a run that has not begun
    part.load_state_dict(StartPredictions(4).state_dict())
    assert len(part) == 0


def test_anchor_fades_by_hand():
    part = StartAnchor(weight=0.8, length=4)
    teacher = torch.tensor([[1.0, 0.0]])
    start = torch.tensor([[0.0, 1.0]])
    shares = [part(teacher, start)[0, 1].item() for _ in range(6)]
    assert shares == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    part.begin(None)
    assert part(teacher, start)[0, 1].item() == pytest.approx(0.8)


def test_anchor_goes_on_where_it_was():
    part, other = StartAnchor(length=4), StartAnchor(length=4)
    teacher, start = probabilities(2, 3), probabilities(3, 3)[1:]
    part(teacher, start)
    other.load_state_dict(part.state_dict())
    assert torch.equal(part(teacher, start), other(teacher, start))


@pytest.mark.parametrize(
    'options, key', [(dict(weight=2), 'weight'), (dict(length=0), 'length')]
)
def test_errors_name_the_key(options, key):
    with pytest.raises(ValueError, match=rf'pseudo_labels\.anchor\.{key}'):
        StartAnchor(**options)
