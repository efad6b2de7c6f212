"""Hooks that keep a run sound."""

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
class ClassCheckHook(Hook):
    """Raises if a validation set has other classes than the model."""

    def before_train(self, runner) -> None:
        """Compare the number of classes.

        Raises:
            ValueError: If they differ.
        """
        if runner.val_loop is None:
            return
        num_classes = unwrap(runner.model, MUST).head.num_classes
        metainfo = getattr(runner.val_dataloader.dataset, 'metainfo', {})
        classes = metainfo.get('classes')
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                f'val_dataloader.dataset has {len(classes)} classes, '
                f'model.head.num_classes is {num_classes}: make them equal, '
                'and the order that of model.start.classes'
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
