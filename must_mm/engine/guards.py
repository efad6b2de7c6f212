"""Hooks that keep a run sound."""

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


def check_classes(dataset: Dataset, num_classes: int) -> None:
    """Raise if a validation set has other classes than the model.

    Raises:
        ValueError: If the numbers of classes differ.
    """
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if classes is not None and len(classes) != num_classes:
        raise ValueError(
            f'val_dataloader.dataset has {len(classes)} classes, '
            f'model.head.num_classes is {num_classes}: make them equal, '
            'and the order that of model.start.classes'
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
class ClassCheckHook(Hook):
    """Raises if data sets do not fit the model.

    A validation set of other classes, or a training set without any label
    for a model that has a ``label_loss``.
    """

    def before_train(self, runner) -> None:
        """Compare the number of classes, look for a label.

        Raises:
            ValueError: If the numbers differ, or there is none.
        """
        model = unwrap(runner.model, MUST)
        if runner.val_loop is not None:
            check_classes(
                runner.val_dataloader.dataset, model.head.num_classes
            )
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
