"""Hooks of MAE-CT: the moving averages, and a sound set-up."""

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..models.maect import MAECT
from ..utils.distributed import unwrap


@HOOKS.register_module()
class MAECTAveragesHook(Hook):
    """Updates target projector and averaged encoder after each step.

    Both are part of the model, so they are saved and resumed with it.
    """

    priority = 'NORMAL'

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Update them."""
        unwrap(runner.model, MAECT).update_averages()


@HOOKS.register_module()
class MAECTCheckHook(Hook):
    """Raises if a set-up would fail later, or train on noise."""

    def before_train(self, runner) -> None:
        """Check data, queue, optimizer and start.

        Raises:
            ValueError: If the queue does not fit the batch, batches differ
                in size, gradients are accumulated, the data set is smaller
                than the neighbourhood, batch norm cannot be synchronised, or
                stage 3 starts without weights.
        """
        model = unwrap(runner.model, MAECT)
        loader, queue = runner.train_dataloader, model.head.queue
        queue.check_batch(loader.batch_size * get_world_size())
        samples = len(loader.dataset)
        if not loader.drop_last:
            raise ValueError(
                'train_dataloader.drop_last must be True: the queue takes '
                'batches of one size'
            )
        if samples <= queue.topk:
            raise ValueError(
                f'train_dataloader.dataset has {samples} samples, fewer than '
                f'model.head.queue.topk ({queue.topk}) neighbours beside the '
                'sample itself: lower topk or give more images'
            )
        accumulated = runner.optim_wrapper._accumulative_counts
        if accumulated != 1:
            raise ValueError(
                'optim_wrapper.accumulative_counts must be 1, got '
                f'{accumulated}: the head has batch norm, whose statistics '
                'are not those of the accumulated batch. Lower the batch size '
                'instead; rates follow where there is a published_batch'
            )
        if (
            any(
                isinstance(module, torch.nn.SyncBatchNorm)
                for module in model.modules()
            )
            and not torch.cuda.is_available()
        ):
            raise ValueError(
                'synchronised batch norm (sync_bn) needs CUDA: without it, '
                'train in one process'
            )
        # --resume without any checkpoint yet starts at iteration 0 as well
        if model.needs_trained_head and not (runner._load_from or runner.iter):
            raise ValueError(
                'contrastive tuning (model.head.target_decay) starts from a '
                'trained head: set load_from to the checkpoint of the stage-2 '
                'config of this model'
            )
