"""What a result says of itself, from made-up passes over images."""

import pytest
import torch

from must_mm.adapt.lesson import lesson
from must_mm.adapt.predict import Seen, predictions
from must_mm.adapt.said import said_of
from must_mm.adapt.trust import (
    ranks,
    rejected,
    reliability,
    strangeness,
    temperature_of,
    trust_of,
)
from must_mm.evaluation.calibration import calibrated


def seen(scale: float = 4.0, seed: int = 0, mixed: int = 200) -> Seen:
    """60 images of three classes; the last three are of none.

    Blends are right by chance as often as their confidence at a temperature
    of ``scale`` says.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 3
    features = torch.eye(6)[labels]
    features[-3:] = torch.eye(6)[3:]
    features = features + 0.1 * torch.randn(60, 6, generator=draw)
    blends = scale * torch.randn(mixed, 3, generator=draw)
    truth = torch.multinomial((blends / scale).softmax(1), 1, generator=draw)
    copies = torch.nn.functional.normalize(
        torch.randn(60, 768, generator=draw), dim=1
    )
    copies[7] = copies[3]
    return Seen(
        scale * 3 * features[:, :3], features, copies, blends, truth[:, 0]
    )


def test_the_temperature_comes_from_blends():
    # 2000 draws: the fit is off by a few per cent
    assert temperature_of(seen(4.0, mixed=2000)) == pytest.approx(4, rel=0.1)
    # never colder than what the network says
    assert temperature_of(seen(0.2)) == 1
    assert temperature_of(seen(mixed=0)) == 1


def test_strange_images_are_rejected():
    start = seen()
    assert rejected(start, 0) == set()
    assert rejected(start, 0.05) == {57, 58, 59}
    shares = strangeness(start)
    assert shares.min() == 0 and shares.max() < 1
    assert sorted(shares.argsort()[-3:].tolist()) == [57, 58, 59]


def test_ranks():
    found = ranks(torch.tensor([3.0, 1.0, 2.0, 9.0]))
    assert found.tolist() == [0.5, 0, 0.25, 0.75]


def test_what_is_said(tmp_path):
    start = seen()
    probs = calibrated(start.logits, 3)
    found = predictions(
        tmp_path,
        [f'{k}.png' for k in range(60)],
        start.probabilities,
        probs,
        torch.ones(60),
        strangeness(start),
        {'9.png': 'labelled', '57.png': 'labelled', '58.png': 'none'},
        {'9.png': 2},
    )
    assert (found[9].label, found[9].confidence) == (2, 1)
    names = [p.name for p in found]
    taught = lesson(said_of(names, probs[None], [start.features]), {})
    trust = trust_of(found, start, probs, taught, 3.0, 1, 12, ['9.png'])
    asked = [int(image.prediction.name[:-4]) for image in trust.review]
    assert len(set(asked)) == 12 and not {7, 9} & set(asked)
    assert {image.guesses[0] for image in trust.review} == {0, 1, 2}
    assert all(len(image.guesses) == 3 for image in trust.review)
    # a person has said what the other two strangest are
    names = [p.name for p in trust.strangers]
    assert names[0] == '59.png' and not {'57.png', '58.png'} & set(names)
    assert [[p.name for p in g] for g in trust.duplicates] == [
        ['3.png', '7.png']
    ]


def test_reliability_by_class():
    probs = torch.tensor([[0.95, 0.05], [0.85, 0.15], [0.2, 0.8]]).double()
    found = reliability(probs, [0, 1, 1], ['ant', 'bee'])
    assert [b.name for b in found] == ['all classes', 'ant', 'bee']
    assert found[0].count == [2, 1]  # two bins that are not empty
    assert found[1].count == [1, 1] and found[1].accuracy == [0, 1]
    only = reliability(probs[:1], [0], ['ant', 'bee'])
    assert [b.name for b in only] == ['all classes', 'ant']
