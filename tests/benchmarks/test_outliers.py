"""Scores of images of no class, judged by the area under the ROC curve."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.outliers import left_out, of_strangers, scores, table

CLASSES, EACH = 4, 30


@pytest.fixture
def seen():
    """Three tight clusters around their class, and one between the axes."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    spread = torch.where(labels == 3, 0.6, 0.05)[:, None]
    noise = torch.randn(len(labels), 8, generator=draws)
    features = F.normalize(torch.eye(8)[labels] + spread * noise, dim=1)
    classifier = torch.eye(CLASSES, 8)
    return (20 * features @ classifier.T, features, classifier), labels


def test_scattered_images_are_found(seen):
    (logits, features, classifier), labels = seen
    known = logits[:, :3], features, classifier[:3]
    found = of_strangers(known, labels == 3)
    assert found.keys() == scores(*known).keys()
    assert all(area > 95 for area in found.values())


def test_each_class_is_left_out_in_turn(seen):
    what, labels = seen
    found = left_out(what, labels)
    # three of four are as tight as the rest: neighbours do not tell them
    assert found["cosine of the class's weights"] > 80
    assert 20 < found['distance of neighbours'] < 80


def test_table_has_means_over_starts():
    text = table({'a': [dict(x=50.0), dict(x=70.0)], 'b': [dict(x=1.0)]})
    assert '| score | a (2) | b (1) |' in text
    assert '| x | 60.0 | 1.0 |' in text
