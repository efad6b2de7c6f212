"""A look at the training images before the first step, without labels."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import all_gather, all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import ConcatDataset, DataLoader

from ..models.must import MUST
from ..models.prototypes import class_sums
from ..models.start_predictions import (
    KEPT,
    StartStatistics,
    sample_numbers,
)
from ..utils.distributed import unwrap


@contextmanager
def same_draws() -> Iterator[None]:
    """Leave the generators of random numbers as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def whole_set(runner: Runner) -> DataLoader:
    """Load every training image once, in order, in the views of epoch 0."""
    loader = {
        name: value
        for name, value in runner.cfg.train_dataloader.items()
        if name not in ('batch_sampler', 'num_batch_per_epoch')
    }
    loader.update(
        dataset=runner.train_dataloader.dataset,
        sampler=dict(type='EpochSampler', shuffle=False),
        drop_last=False,
        persistent_workers=False,
    )
    return Runner.build_dataloader(loader, seed=runner.seed)


@torch.no_grad()
def look_at_start(model: MUST, loader: DataLoader) -> StartStatistics:
    """Run the teacher over the weak views of the training images.

    Args:
        model: The model, whose teacher is still the start.
        loader: This rank's share of the images, in order.

    Returns:
        What all ranks have found; the same on every rank.
    """
    rank, ranks = get_dist_info()
    total, seen = len(loader.dataset), 0
    kept = min(KEPT, model.head.num_classes)
    mean, sums, rows = 0.0, 0.0, []
    drawn = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    drawn = drawn[: model.pseudo_labels.sample_size]
    sample = torch.zeros(len(drawn), model.head.num_classes)
    sample_feats = torch.zeros(len(drawn), model.head.in_channels)
    row_of = torch.full((total,), -1).scatter(
        0, drawn, torch.arange(len(drawn))
    )
    for batch in loader:
        data = model.data_preprocessor(batch, training=True)
        probs, feats = model.teacher_sees(data['inputs'][0])
        numbers = sample_numbers(data['data_samples'])
        # ranks get equal shares: the last ones may repeat the first images
        place = rank + ranks * (seen + torch.arange(len(probs)))
        seen += len(probs)
        first = place < total
        new = first.to(probs)[:, None]
        mean = mean + (new * probs).sum(dim=0, dtype=torch.float64)
        sums = sums + class_sums(new * probs, feats).double()
        row = row_of[numbers]
        wanted = (row >= 0) & first
        sample[row[wanted]] = probs.cpu()[wanted]
        sample_feats[row[wanted]] = feats.float().cpu()[wanted]
        top = probs.topk(kept, dim=1)
        rows.append((numbers.to(probs.device), top.indices, top.values))
    sample = sample.to(sums.device)
    sample_feats = sample_feats.to(sums.device)
    for summed in (mean, sums, sample, sample_feats):
        all_reduce(summed)
    was_seen = sample.sum(dim=1) > 0
    numbers, classes, values = (
        torch.cat(all_gather(torch.cat(column)))
        for column in zip(*rows, strict=True)
    )
    # an unreadable image has no row: the next one was seen in its place
    table = values.new_zeros(total, kept)
    return StartStatistics(
        mean=(mean / total).float(),
        class_sums=sums.float(),
        classes=classes.new_zeros(total, kept).index_copy(0, numbers, classes),
        probs=table.index_copy(0, numbers, values),
        sample=sample[was_seen],
        sample_feats=sample_feats[was_seen],
    )


def share_prior(model: MUST) -> None:
    """Give an estimated prior to a fairness loss that has none stated."""
    alignment, fairness = (
        model.pseudo_labels.alignment,
        model.head.fairness_loss,
    )
    estimated = alignment is not None and alignment.estimates_prior
    if estimated and fairness is not None and fairness.prior is None:
        fairness.prior = alignment.prior.clone()


@HOOKS.register_module()
class StartPassHook(Hook):
    """Starts the statistics of :class:`PseudoLabels` where the start is.

    Before the first iteration, the teacher, which still is the start, sees
    the weak view of every training image once: its mean prediction, its
    confidence, its centroids, and what it says of each image. A prior that
    the alignment estimates from it (``prior='auto'``) is the fairness loss's,
    too, where none is stated. The run's random numbers come out as without
    it. A resumed run has the statistics
    in its checkpoint. Nothing is done where the model has no
    ``pseudo_labels``.
    """

    priority = 'LOW'  # after the teacher has become the start

    def before_train(self, runner) -> None:
        """Look, unless the run is resumed.

        Raises:
            ValueError: If the samples do not say which image they are.
        """
        model = unwrap(runner.model, MUST)
        if model.pseudo_labels is None:
            return
        if not runner._resume:
            self._look(runner, model)
        share_prior(model)

    def _look(self, runner, model: MUST) -> None:
        if isinstance(runner.train_dataloader.dataset, ConcatDataset):
            raise ValueError(
                'StartPassHook knows the training images by their number, '
                'which a ConcatDataset counts anew in each of its parts: '
                'list all images in one data set'
            )
        with same_draws():
            loader = whole_set(runner)
            runner.logger.info(
                'StartPassHook: what the start says of '
                f'{len(loader.dataset)} images'
            )
            start = look_at_start(model, loader)
        model.pseudo_labels.begin(start)
        alignment = model.pseudo_labels.alignment
        if getattr(alignment, 'follows_neighbours', False):
            runner.logger.info(
                'StartPassHook: labels are balanced by '
                f'{alignment.strength.item():.1f} of the whole shift'
            )
