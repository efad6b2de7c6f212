"""Hooks that keep a run sound."""

from collections.abc import Sequence

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from ..models.must import MUST
from ..utils.distributed import unwrap


def check_training_data(loader: DataLoader) -> None:
    """Raise unless the training set fills one batch.

    Raises:
        ValueError: If an epoch would have no iteration.
    """
    if len(loader) == 0:
        raise ValueError(
            f'train_dataloader: the data set has {len(loader.dataset)} '
            f'images, not enough for one batch of {loader.batch_size} per '
            'process. Check dataset.data_root, data_prefix and ann_file, or '
            'lower batch_size'
        )


def check_classes(validated: Sequence[str], model: MUST) -> None:
    """Raise if a validation set has other classes than the model.

    Raises:
        ValueError: If the numbers of classes differ, or the names are those
            of the start in another order.
    """
    key, count = 'val_dataloader.dataset', model.head.num_classes
    if len(validated) != count:
        raise ValueError(
            f'{key} has {len(validated)} classes, model.head.num_classes is '
            f'{count}: make them equal, and the order that of '
            'model.start.classes'
        )
    started = getattr(model.start, 'classes', None) or ()
    if sorted(validated) != sorted(started):
        return  # other names may well mean the same
    for label, (found, wanted) in enumerate(
        zip(validated, started, strict=True)
    ):
        if found != wanted:
            raise ValueError(
                f'label {label} is {found!r} in {key}.metainfo.classes, '
                f'{wanted!r} in model.start, which has the same classes in '
                'another order: give both the order of the labels'
            )


def check_labels(dataset: Dataset) -> None:
    """Raise unless the training set has a label that may be used.

    Raises:
        ValueError: If no sample is ``labelled``.
    """
    if not hasattr(dataset, 'get_data_info'):
        return  # only samples that are loaded would tell
    if not any(
        dataset.get_data_info(index).get('labelled')
        for index in range(len(dataset))
    ):
        raise ValueError(
            'model.label_loss learns labels that may be used, and no sample '
            'of train_dataloader.dataset is marked as labelled: name such '
            "images and their classes in a list, with type='KnownLabels', "
            'or leave model.label_loss out'
        )


@HOOKS.register_module()
class BatchCheckHook(Hook):
    """Raises if a recipe's rates are of another total batch than the run's.

    ``tools/train.py`` makes them follow and takes ``published_batch`` out of
    the config. Where it is still there, nobody has: other tools do not know
    it, and would train at a rate that is several times too high.
    """

    KEY = 'published_batch'
    priority = 'VERY_HIGH'  # before the start is validated

    def before_train(self, runner) -> None:
        """Compare the batch of the config with that of the run.

        Raises:
            ValueError: If they differ.
        """
        published = runner.cfg.get(self.KEY)
        if published is None:
            return
        batch = (
            runner.train_dataloader.batch_size
            * get_world_size()
            * runner.optim_wrapper._accumulative_counts
        )
        if published != batch:
            raise ValueError(
                f'{self.KEY} is {published}, the total batch of this run '
                f'{batch}, and the rates were not made to follow. Train with '
                'tools/train.py of must_mm, or call '
                'must_mm.runs.batch_rule.follow_batch(cfg, processes) before '
                f'the runner is built, or make the batch {published}'
            )


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Raises if data sets do not fit the model.

    A validation set of other classes, or of the start's in another order,
    which would score near zero; or a training set without any label for a
    model that has a ``label_loss``.
    """

    def before_train(self, runner) -> None:
        """Compare the classes, look for a label.

        Raises:
            ValueError: If classes differ, or there is no label.
        """
        model = unwrap(runner.model, MUST)
        if runner.val_loop is not None:
            validated = runner.val_dataloader.dataset
            classes = getattr(validated, 'metainfo', {}).get('classes')
            if classes is not None:
                check_classes(classes, model)
        if model.label_loss is not None:
            check_labels(runner.train_dataloader.dataset)


@HOOKS.register_module()
class FairnessRestartHook(Hook):
    """Restarts the running average of the fairness loss.

    At the first iteration of every pass over the data, in epoch-based and
    iteration-based loops alike (Sec. 3.1).
    """

    def before_train_iter(
        self, runner, batch_idx: int, data_batch=None
    ) -> None:
        """Restart where a pass begins."""
        # not runner.iter: after a resume on other ranks it is out of step
        if batch_idx % len(runner.train_dataloader) == 0:
            fairness = unwrap(runner.model, MUST).head.fairness_loss
            if fairness is not None:
                fairness.restart()
