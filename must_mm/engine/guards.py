"""Hooks that keep a run sound."""

from collections.abc import Sequence

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

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


@HOOKS.register_module()
class BatchCheckHook(Hook):
    """Raises if a recipe's rates are of another total batch than the run's.

    ``tools/train.py`` makes them follow and takes ``published_batch`` out of
    the config. Where it is still there, nobody has: other tools do not know
    it, and would train at a rate that is several times too high.
    """

    KEY = 'published_batch'

    def before_train(self, runner) -> None:
        """Compare the batch of the config with that of the run.

        Raises:
            ValueError: If they differ.
        """
        published = runner.cfg.get(self.KEY)
        batch = (
            runner.train_dataloader.batch_size
            * get_world_size()
            * runner.optim_wrapper._accumulative_counts
        )
        if published not in (None, batch):
            raise ValueError(
                f'{self.KEY} is {published}, the total batch of this run '
                f'{batch}, and the rates were not made to follow. Train with '
                'tools/train.py of must_mm, or call '
                'must_mm.runs.batch_rule.follow_batch(cfg, processes) before '
                f'the runner is built, or make the batch {published}'
            )


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Raises if a validation set has other classes than the model.

    In another order, its labels would score the model near zero.
    """

    def before_train(self, runner) -> None:
        """Compare the number of classes, and the order of equal names.

        Raises:
            ValueError: If they differ.
        """
        if runner.val_loop is None:
            return
        model = unwrap(runner.model, MUST)
        num_classes = model.head.num_classes
        metainfo = getattr(runner.val_dataloader.dataset, 'metainfo', {})
        classes = metainfo.get('classes')
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                f'val_dataloader.dataset has {len(classes)} classes, '
                f'model.head.num_classes is {num_classes}: make them equal, '
                'and the order that of model.start.classes'
            )
        started = getattr(model.start, 'classes', None)
        # other names may well mean the same, such as synonyms
        if classes and started and sorted(classes) == sorted(started):
            _check_order(classes, started)


def _check_order(validated: Sequence[str], started: Sequence[str]) -> None:
    """Raise where one label means two classes."""
    for label, names in enumerate(zip(validated, started, strict=True)):
        if names[0] != names[1]:
            raise ValueError(
                f'label {label} is {names[0]!r} in '
                f'val_dataloader.dataset.metainfo.classes, {names[1]!r} in '
                'model.start, which has the same classes in another order: '
                'give both the order of the labels'
            )


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
