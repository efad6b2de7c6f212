"""Labels that may be used teach; all others reach no loss."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from must_mm.models.label_loss import (
    LabelLoss,
    known_labels,
    label_loss,
    with_known_labels,
    with_weak_views,
)
from tests.tiny import (
    SIZE,
    assert_same_tensors,
    tiny_config,
    train,
    weights,
)


def samples(labels, known) -> list[DataSample]:
    """Samples with labels, some of which may be used, and masks."""
    made = []
    for place, (label, usable) in enumerate(zip(labels, known, strict=True)):
        sample = DataSample().set_gt_label(label)
        if usable:
            sample.set_field(True, 'labelled', field_type='metainfo')
        mask = torch.zeros(4, 4)
        mask[place % 4, 1:] = 1
        made.append(sample.set_mask(mask))
    return made


def test_only_marked_labels_are_known():
    found = known_labels(samples([3, 1, 2], [True, False, True]))
    assert found.tolist() == [3, -1, 2]
    assert known_labels([DataSample()]).tolist() == [-1]


def test_a_mark_without_a_label_is_refused():
    marked = DataSample()
    marked.set_field(True, 'labelled', field_type='metainfo')
    with pytest.raises(ValueError, match='gt_label.*KnownLabels'):
        known_labels([marked])


def test_the_maths():
    labels = torch.tensor([2, -1, 0, -1, 1])
    probs = torch.full((5, 3), 1 / 3)
    found = with_known_labels(probs, labels)
    assert found.argmax(1)[[0, 2, 4]].tolist() == [2, 0, 1]
    assert found[[0, 2, 4]].max(1).values.tolist() == [1, 1, 1]
    assert torch.equal(found[[1, 3]], probs[[1, 3]])
    weak, strong = torch.zeros(5, 3, 2, 2), torch.ones(5, 3, 2, 2)
    seen = with_weak_views(weak, strong, labels)[:, 0, 0, 0]
    assert seen.tolist() == [0, 1, 1, 1, 0]  # the 1st and 3rd labelled
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    chosen = [0, 2, 4]
    torch.testing.assert_close(
        LabelLoss(0.5)(logits, labels),
        0.5 * F.cross_entropy(logits[chosen], labels[chosen]),
    )


def test_without_a_label_it_is_a_zero_with_a_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = label_loss(logits, torch.tensor([-1, -1]))
    loss.backward()
    assert loss == 0 and torch.equal(logits.grad, torch.zeros(2, 3))


def test_a_negative_weight_names_the_key():
    with pytest.raises(ValueError, match=r'model\.label_loss\.loss_weight'):
        LabelLoss(-1)


@pytest.fixture
def model(images, tmp_path):
    config = tiny_config(images, tmp_path)
    config.model.label_loss = dict(type='LabelLoss', loss_weight=2.0)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model.train()


def views(count: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(2, count, 3, SIZE, SIZE, generator=generator))


def test_one_step_by_hand(model):
    """The term, the views and the labels in place of the guesses."""
    weak, strong = views()
    batch = samples([0, 1, 2, 3], [True, False, True, False])
    losses = model.loss([weak, strong], batch)
    seen = torch.cat([weak[:1], strong[1:]])
    mask = torch.stack([sample.mask for sample in batch]).bool()
    with torch.no_grad():
        feats, _ = model.masked_features(seen, mask)
        logits = model.head(model.global_features(feats))
        expected = F.cross_entropy(logits[[0, 2]], torch.tensor([0, 2]))
        q = with_known_labels(
            model.teacher_probs(weak), torch.tensor([0, -1, 2, -1])
        )
        sure = q.max(1).values > model.head.threshold
        st = F.cross_entropy(logits[sure], q.argmax(1)[sure])
    torch.testing.assert_close(losses['loss_lab'].detach(), 2 * expected)
    torch.testing.assert_close(losses['loss_st'].detach(), st)
    assert losses['labelled'] == 0.5


def test_self_training_alone_learns_them_too(images, tmp_path):
    config = tiny_config(images, tmp_path)
    config.model.update(decoder=None, mim_head=None, align_loss=None)
    config.model.label_loss = dict(type='LabelLoss')
    model = MODELS.build(config.model)
    model.init_weights()
    losses = model.loss(views(2), samples([0, 1], [True, True]))
    assert {n for n in losses if 'loss' in n} == {
        'loss_st', 'loss_fair', 'loss_lab',
    }  # fmt: skip


def test_labels_that_may_not_be_used_change_nothing(model):
    """With the loss in place; those that may be used do."""
    known = [True, False, False, False]

    def losses(labels):
        found = model.loss(views(), samples(labels, known))
        return {name: found[name] for name in found if 'loss' in name}

    first = losses([0, 1, 2, 3])
    assert_same_tensors(losses([0, 3, 1, 2]), first)
    assert losses([1, 1, 2, 3])['loss_lab'] != first['loss_lab']


def labelled_config(images, work_dir, file='names.txt', label=0):
    """A run on which two images have labels that may be used."""
    config = tiny_config(
        images, work_dir, {'train_cfg.max_epochs': 1}, ann_file=file
    )
    config.model.label_loss = dict(type='LabelLoss')
    loader = config.train_dataloader
    known = work_dir / 'known.txt'
    known.write_text(f'ant/0.png {label}\nbee/3.png 1\n')
    loader.dataset.update(
        type='KnownLabels', source='CustomDataset', labels=str(known)
    )
    loader.sampler = dict(
        type='LabelledShareSampler', share=0.25, shuffle=True
    )
    return config


@pytest.mark.onedl
def test_a_run_learns_its_labels_and_no_others(images, tmp_path):
    """From the config, with the data set and the sampler of the labels.

    The labels of the list change the weights; those of the data set, which
    are for the log, do not, nor whether there are any.
    """
    final, logged = {}, {}
    for name, options in dict(
        plain=dict(),
        logged=dict(file='labels.txt'),
        permuted=dict(file='permuted.txt'),
        other=dict(label=3),
    ).items():
        folder = tmp_path / name
        folder.mkdir()
        runner = train(labelled_config(images, folder, **options))
        final[name] = weights(runner)
        logged[name] = runner.message_hub.get_scalar('train/labelled')
    assert_same_tensors(final['logged'], final['plain'])
    assert_same_tensors(final['permuted'], final['plain'])
    name = 'head.classifier'
    assert not torch.equal(final['other'][name], final['plain'][name])
    # two of each batch of eight, and where the pass has them
    assert set(logged['plain'].data[0]) <= {0.25, 0.375, 0.5}
