"""The parts of PseudoLabels in their order, and within MUST."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from must_mm.models.distribution_alignment import align_distribution
from must_mm.models.prototypes import class_sums, prototype_probs
from must_mm.models.pseudo_labels import Labels, PseudoLabels
from must_mm.models.sample_weights import truncated_gaussian
from tests.models.starts import start_statistics
from tests.tiny import BETTER_LABELS, CLASSES, SIZE

CLASS_COUNT, WIDTH = 4, 6


def probabilities(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, CLASS_COUNT, generator=generator)
    return logits.softmax(1)


def features(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, WIDTH, generator=generator), dim=1)


def test_without_parts_labels_are_the_teacher_s():
    probs = probabilities(5, 0)
    found = PseudoLabels(CLASS_COUNT, WIDTH)(probs, features(5, 0), None)
    assert torch.equal(found.probs, probs)
    assert found.weights is None


def test_all_parts_by_the_formulas():
    """Two steps, written out; 1e-3: the start is kept in half precision."""
    part = PseudoLabels(
        CLASS_COUNT,
        WIDTH,
        anchor=dict(weight=0.5, length=2),
        prototypes=dict(weight=0.25, momentum=0.5, temperature=0.1),
        alignment=dict(
            type='DistributionAlignment', momentum=0.5, exponent=0.5
        ),
        weights=dict(momentum=0.5),
    )
    start, start_feats = probabilities(20, 1), features(20, 1)
    part.begin(start_statistics(start, start_feats))
    uniform = torch.full((CLASS_COUNT,), 1 / CLASS_COUNT)
    sums = class_sums(start, start_feats) / 20
    mean = start.mean(0)
    confidence = start.max(1).values
    centre, variance = confidence.mean(), confidence.var()
    for step, share in enumerate((0.5, 0.25)):
        q, feats = probabilities(8, 2 + step), features(8, 2 + step)
        index = torch.arange(8) + 3 * step
        found = part(q, feats, index)

        q = (1 - share) * q + share * start[index]
        q = 0.75 * q + 0.25 * prototype_probs(feats, sums, 0.1)
        mean = 0.5 * mean + 0.5 * q.mean(0)
        q = align_distribution(q, mean, uniform, 0.5)
        sums = 0.5 * sums + 0.5 * class_sums(q, feats) / 8
        confidence = q.max(1).values
        centre = 0.5 * centre + 0.5 * confidence.mean()
        variance = 0.5 * variance + 0.5 * confidence.var()
        expected = truncated_gaussian(confidence, centre, variance)
        for ours, theirs in ((found.probs, q), (found.weights, expected)):
            torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-3)


def test_known_labels_count_in_full():
    probs = probabilities(3, 0)
    known = torch.tensor([-1, 2, -1])
    found = Labels(probs, torch.tensor([0.1, 0.2, 0.3])).corrected(known)
    assert found.probs[1].tolist() == [0, 0, 1, 0]
    assert torch.equal(found.probs[::2], probs[::2])
    assert found.weights.tolist() == pytest.approx([0.1, 1.0, 0.3])
    assert Labels(probs).corrected(known).weights is None


@pytest.mark.parametrize(
    'options',
    [
        dict(anchor=dict()),
        dict(alignment=dict(prior='auto')),
        dict(alignment=dict(strength='auto')),
    ],
)
def test_what_needs_the_start_names_the_hook(options):
    part = PseudoLabels(CLASS_COUNT, WIDTH, **options)
    with pytest.raises(ValueError, match='StartPassHook'):
        part(probabilities(4, 0), features(4, 0), None)


def test_a_part_is_a_config():
    with pytest.raises(TypeError, match='model.pseudo_labels.weights'):
        PseudoLabels(CLASS_COUNT, WIDTH, weights='softmatch')


# ---------------------------------------------------------------- within MUST


def numbered(count: int) -> list[DataSample]:
    samples = [DataSample() for _ in range(count)]
    for number, sample in enumerate(samples):
        sample.set_field(number, 'sample_idx', field_type='metainfo')
    return samples


@pytest.fixture
def must(config):
    def build(**parts):
        config.model.pseudo_labels = parts
        config.model.masked_view = 'off'
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        model.init_weights()
        return model.train()

    return build


@pytest.mark.parametrize(
    'own, expected',
    [
        (None, [0.7, 0.1, 0.1, 0.1]),
        ([0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.1, 0.7]),
    ],
)
def test_a_prior_that_is_stated_once_is_everyone_s(config, own, expected):
    config.model.head.fairness = dict(
        type='FairnessLoss', prior=[0.7, 0.1, 0.1, 0.1]
    )
    config.model.pseudo_labels = dict(
        alignment=dict(type='BalancedLabels', prior=own)
    )
    model = MODELS.build(config.model)
    found = model.pseudo_labels.alignment.prior
    assert torch.equal(found, torch.tensor(expected))


def views() -> list[torch.Tensor]:
    return list(torch.randn(2, 4, 3, SIZE, SIZE))


def test_the_student_learns_the_better_labels(must):
    model = must(alignment=dict(), weights=dict())
    weak, strong = views()
    losses = model.loss([weak, strong], numbered(4))
    with torch.no_grad():
        again = must(alignment=dict(), weights=dict())
        probs, feats = again.teacher_sees(weak)
        labels = again.pseudo_labels(probs, feats, None)
        per_sample = F.cross_entropy(
            again.head(again.see(strong)),
            labels.probs.argmax(1),
            reduction='none',
        )
        expected = (per_sample * labels.weights).sum() / max(
            1, labels.weights.sum()
        )
    torch.testing.assert_close(losses['loss_st'].detach(), expected)
    assert losses['conf_ratio'] == labels.weights.mean()


def test_no_gradient_and_no_weight(must):
    """Statistics are no parameters, and no part of student or teacher."""
    model = must(alignment=dict(), prototypes=dict(), weights=dict())
    assert not list(model.pseudo_labels.parameters())
    assert not any('pseudo' in n for n in model.teacher.state_dict())
    losses = model.loss(views(), numbered(4))
    sum(v for n, v in losses.items() if 'loss' in n).backward()
    assert not model.pseudo_labels.prototypes.sums.requires_grad


def test_labels_are_made_in_full_precision(must):
    """Whatever the networks run in."""
    model = must(alignment=dict(), prototypes=dict(), weights=dict())
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(views(), numbered(4))
    assert all(value.isfinite() for value in losses.values())
    assert model.pseudo_labels.prototypes.sums.dtype == torch.float32
    assert model.pseudo_labels.prototypes.sums.abs().sum() > 0


def test_published_checkpoints_have_no_trace(config):
    names = MODELS.build(config.model).state_dict()
    assert not any('pseudo_labels' in name for name in names)


def test_samples_without_numbers_name_the_pipeline(must):
    model = must(anchor=dict())
    start = probabilities(4, 0)
    model.pseudo_labels.begin(
        start_statistics(start, torch.ones(4, model.head.in_channels))
    )
    model.loss(views(), numbered(4))
    with pytest.raises(ValueError, match='sample_idx.*meta_keys'):
        model.loss(views(), [DataSample() for _ in range(4)])


def test_parts_of_the_tests_are_all_parts():
    """A part that is added later is resumed and dealt to ranks, too."""
    part = PseudoLabels(
        len(CLASSES), WIDTH, **BETTER_LABELS['model.pseudo_labels']
    )
    assert all(module is not None for module in part._modules.values())
