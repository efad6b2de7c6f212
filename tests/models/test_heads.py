"""Projection and pseudo-label head."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from must_mm.models.heads import (
    DistilledPseudoLabelHead,
    LinearPseudoLabelHead,
    PseudoLabelHead,
)
from must_mm.models.losses import FairnessLoss, confident, self_training_loss
from must_mm.models.necks import CLIPProjection


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = PseudoLabelHead(num_classes=4, in_channels=6, threshold=0.5)
    head.init_weights()
    return head


def test_projection_reads_the_class_token_alone():
    torch.manual_seed(0)
    neck = CLIPProjection(8, 6)
    torch.nn.init.normal_(neck.ln_post.weight)
    tokens = torch.randn(2, 5, 8)
    (found,) = neck((torch.zeros(1), tokens))
    cls = tokens[:, 0].double()
    cls = (cls - cls.mean(1, keepdim=True)) / (
        cls.var(1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    projected = (cls * neck.ln_post.weight.double()) @ neck.proj.double()
    expected = projected / projected.norm(dim=1, keepdim=True)
    # float32 against float64
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    tokens[:, 1:] += 1
    assert torch.equal(neck((tokens,))[0], found)


def test_logits_are_scaled_cosines_with_a_fixed_scale(head):
    feats = F.normalize(torch.randn(3, 6), dim=1)
    expected = 100.0 * feats @ head.classifier
    # the same three float32 factors in another order
    torch.testing.assert_close(head((feats,)), expected, rtol=1e-5, atol=1e-5)
    assert not head.logit_scale.requires_grad
    assert head.classifier.requires_grad
    assert 'logit_scale' in head.state_dict()


def test_initial_columns_have_unit_length(head):
    torch.testing.assert_close(head.classifier.norm(dim=0), torch.ones(4))


def test_classifier_is_not_renormalised(head):
    feats = F.normalize(torch.randn(3, 6), dim=1)
    before = head((feats,))
    with torch.no_grad():
        head.classifier *= 2
    assert torch.equal(head((feats,)), 2 * before)


PROBS = torch.tensor(
    [
        [0.9, 0.1, 0.0, 0.0],  # confident in 0
        [0.1, 0.8, 0.1, 0.0],  # confident in 1
        [0.4, 0.3, 0.2, 0.1],  # not confident
        [0.5, 0.5, 0.0, 0.0],  # at the threshold: not confident
    ]
)


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def test_terms_and_what_is_logged(head):
    feats = (F.normalize(torch.randn(4, 6), dim=1),)
    losses = head.loss(feats, samples([0, 3, 0, 0]), PROBS)
    assert set(losses) == {
        'loss_st',
        'loss_fair',
        'conf_ratio',
        'teacher_confidence',
        'pseudo_label_acc',
    }
    logits = head(feats)
    assert losses['loss_st'] == self_training_loss(
        logits, PROBS, confident(PROBS, 0.5)
    )
    assert losses['loss_fair'] == FairnessLoss(4)(logits)
    assert losses['conf_ratio'] == 0.5
    assert losses['pseudo_label_acc'] == 0.5
    assert losses['teacher_confidence'] == PROBS.max(1).values.mean()


def test_labels_are_only_logged(head):
    """Other labels, or none: the losses are the same to the bit."""
    feats = (F.normalize(torch.randn(4, 6), dim=1),)
    one = head.loss(feats, samples([0, 1, 2, 3]), PROBS)
    other = head.loss(feats, samples([3, 2, 1, 0]), PROBS)
    none = head.loss(feats, [DataSample() for _ in range(4)], PROBS)
    assert 'pseudo_label_acc' not in none
    assert one['pseudo_label_acc'] == 1 and other['pseudo_label_acc'] == 0
    for name in ('loss_st', 'loss_fair', 'conf_ratio'):
        assert one[name] == other[name] == none[name]


def test_without_confident_samples_training_can_go_on(head):
    feats = torch.randn(4, 6, requires_grad=True)
    losses = head.loss((feats,), samples([0] * 4), torch.full((4, 4), 0.25))
    assert losses['loss_st'] == 0 and losses['conf_ratio'] == 0
    assert losses['pseudo_label_acc'].isnan()  # of none, none is right
    (losses['loss_st'] + losses['loss_fair']).backward()
    assert feats.grad.isfinite().all()


def test_accuracy_is_a_weighted_mean_for_any_weights(head):
    """Those of less than one in all, too."""
    feats = (F.normalize(torch.randn(4, 6), dim=1),)
    weights = torch.tensor([0.3, 0.1, 0.0, 0.0])
    losses = head.loss(feats, samples([0, 3, 0, 0]), PROBS, weights)
    assert losses['pseudo_label_acc'].item() == pytest.approx(0.75)


def test_fairness_takes_the_number_of_classes():
    head = PseudoLabelHead(
        600, 6, fairness=dict(type='FairnessLoss', loss_weight=0.2)
    )
    assert head.fairness_loss.moving_average
    assert head.fairness_loss.loss_weight == 0.2


def test_none_trains_without_fairness():
    """As the docstring says."""
    head = PseudoLabelHead(4, 6, fairness=None)
    losses = head.loss((torch.randn(4, 6),), samples([0] * 4), PROBS)
    assert 'loss_fair' not in losses


@pytest.mark.parametrize('threshold', [0, 1, -0.1, 1.5])
def test_threshold_out_of_range_names_the_key(threshold):
    with pytest.raises(ValueError, match=r'model\.head\.threshold.*\(0, 1\)'):
        MODELS.build(
            dict(
                type='PseudoLabelHead',
                num_classes=4,
                in_channels=6,
                threshold=threshold,
            )
        )


@pytest.mark.parametrize('classes', [0, 1])
def test_too_few_classes_names_the_key(classes):
    with pytest.raises(ValueError, match=r'model\.head\.num_classes'):
        PseudoLabelHead(classes, 6)


def test_linear_head_scales_a_linear_layer():
    head = LinearPseudoLabelHead(4, 6, logit_scale=2.0)
    x = torch.randn(3, 6)
    expected = 2 * (x @ head.fc.weight.T + head.fc.bias)
    # the same sums in another order
    torch.testing.assert_close(head((x,)), expected, rtol=1e-5, atol=1e-6)
    # neither feature nor weight is normalised
    shift = head((x,)) - head((torch.zeros(3, 6),))
    doubled = head((2 * x,)) - head((torch.zeros(3, 6),))
    torch.testing.assert_close(doubled, 2 * shift, rtol=1e-5, atol=1e-6)
    assert head.state_dict()['logit_scale'] == 2


def test_distilled_head_averages_two_layers():
    head = DistilledPseudoLabelHead(4, 6)
    cls_token, dist_token = torch.randn(2, 3, 6)
    expected = (head.fc(cls_token) + head.fc_dist(dist_token)) / 2
    assert torch.equal(head(((cls_token, dist_token),)), expected)


@pytest.mark.parametrize(
    'cls', [LinearPseudoLabelHead, PseudoLabelHead, DistilledPseudoLabelHead]
)
def test_logits_keep_their_precision_under_autocast(cls):
    """CLIP's logits, some 20 to 40, are a quarter apart in bfloat16."""
    head = cls(100, 64, logit_scale=100.0)
    head.init_weights()
    # as autocast leaves it: numbers that bfloat16 can hold
    x = F.normalize(torch.randn(8, 64), dim=1).bfloat16()

    def logits(feature):
        two = cls is DistilledPseudoLabelHead
        return head(((feature, feature),) if two else (feature,))

    expected = logits(x.float())
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(logits(x), expected)


@pytest.mark.parametrize('cls', [LinearPseudoLabelHead, PseudoLabelHead])
def test_alignment_sees_unit_features(cls):
    x = F.normalize(torch.randn(3, 6), dim=1)
    if cls is LinearPseudoLabelHead:
        x = 5 * x
    found = cls(4, 6).joint_feature((x,))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
