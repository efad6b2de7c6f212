"""What the start says of the training images, before the first step."""

import pytest
import torch
from mmengine.hooks import Hook

from must_mm.engine.start_pass import look_at_start, whole_set
from must_mm.models.neighbour_prior import neighbour_prior
from tests.tiny import (
    BATCH,
    BETTER_LABELS,
    assert_same_tensors,
    build,
    tiny_config,
    train,
    weights,
)

pytestmark = pytest.mark.usefixtures('plain_logs')


class Begun(Hook):
    """Looks at the model when the first iteration begins."""

    priority = 'VERY_LOW'

    def before_train(self, runner):
        self.start = runner.model.pseudo_labels.start
        self.labels = runner.model.pseudo_labels
        self.fairness = runner.model.head.fairness_loss
        self.batches = [
            runner.model.data_preprocessor(batch, training=True)
            for batch in whole_set(runner)
        ]
        self.said = [
            runner.model.teacher_sees(batch['inputs'][0])
            for batch in self.batches
        ]
        raise KeyboardInterrupt


def test_statistics_are_those_of_the_weak_views(config):
    config.merge_from_dict(BETTER_LABELS)
    begun = Begun()
    with pytest.raises(KeyboardInterrupt):
        train(config, begun)
    probs, feats = map(torch.cat, zip(*begun.said, strict=True))
    assert probs.shape == (24, 4) and len(begun.batches) == 24 // BATCH
    # every image in the bank, once
    bank = begun.labels.alignment.bank.exp()
    distance, image = torch.cdist(bank, probs).min(1)
    assert distance.max() < 1e-5 and len(image.unique()) == len(bank) == 24
    confidence = probs.max(1).values
    torch.testing.assert_close(begun.labels.weights.mean, confidence.mean())
    torch.testing.assert_close(begun.labels.weights.variance, confidence.var())
    # half precision
    torch.testing.assert_close(
        begun.start(torch.arange(24)), probs, rtol=1e-3, atol=1e-3
    )
    assert begun.labels.prototypes.sums.abs().sum() > 0
    prior = begun.labels.alignment.prior
    assert torch.equal(begun.fairness.prior, prior)
    # of the same images in another order
    torch.testing.assert_close(prior, neighbour_prior(probs.log(), feats))


def test_it_takes_no_draw_from_the_run(images, tmp_path):
    """Parts that change nothing: the weights are those without them."""
    one = {'train_cfg.max_epochs': 1, 'model.pseudo_labels': {}}
    look = train(tiny_config(images, tmp_path / 'look', one))
    del one['model.pseudo_labels']
    plain = weights(train(tiny_config(images, tmp_path / 'plain', one)))
    found = weights(look)
    assert len(look.model.pseudo_labels.start) == 24
    assert_same_tensors({name: found[name] for name in plain}, plain)


def test_ranks_find_what_one_process_finds(config, monkeypatch):
    """Five ranks, one after another: 25 places for 24 images."""
    config.merge_from_dict(BETTER_LABELS)
    config.train_dataloader.batch_size = 5
    runner = build(config)
    runner.model.init_weights()
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    whole = look_at_start(runner.model, whole_set(runner))
    shares, ranks = [], 5

    def deal(loader, rank):
        sampler = loader.sampler
        sampler.rank, sampler.world_size = rank, ranks
        sampler.num_samples = -(-24 // ranks)
        sampler.total_size = sampler.num_samples * ranks
        return loader

    module = 'must_mm.engine.start_pass'
    monkeypatch.setattr(f'{module}.all_reduce', lambda summed: summed)
    monkeypatch.setattr(f'{module}.all_gather', lambda column: [column])
    for rank in range(ranks):
        monkeypatch.setattr(
            f'{module}.get_dist_info', lambda r=rank: (r, ranks)
        )
        shares.append(
            look_at_start(runner.model, deal(whole_set(runner), rank))
        )
    torch.testing.assert_close(sum(s.mean for s in shares), whole.mean)
    torch.testing.assert_close(
        sum(s.class_sums for s in shares), whole.class_sums
    )
    torch.testing.assert_close(
        torch.cat([s.sample for s in shares]).sort(0).values,
        whole.sample.sort(0).values,
    )


def test_concatenated_sets_name_the_fix(config):
    config.model.pseudo_labels = {}
    half = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[half, half]
    )
    with pytest.raises(ValueError, match='ConcatDataset.*one data set'):
        train(config)
