"""What lets the host keep ahead of the device, or says that it does not."""

import gc
import time

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..utils.validation import check_integer, check_number


@HOOKS.register_module()
class LoaderWaitHook(Hook):
    """Logs the share of the time in which training waits for images.

    As ``loader_wait`` beside the losses; of several processes the largest,
    since one that waits holds up all. Where it is large, the log says, once
    an epoch, that more loader processes would make training faster.
    Validation, and what is saved at the end of an epoch, does not count.

    Args:
        window: Over how many iterations the share is taken.
        limit: Share from which the log warns, in (0, 1].

    Raises:
        ValueError: If a value is out of its range.
    """

    priority = 'LOWEST'

    def __init__(self, window: int = 50, limit: float = 0.2) -> None:
        check_integer('LoaderWaitHook.window', window)
        check_number('LoaderWaitHook.limit', limit, '(0, 1]')
        self.window = window
        self.limit = limit
        # a run may validate before it trains
        self._end = None

    def before_train(self, runner) -> None:
        """Begin to count with the second iteration: loaders have to start."""
        self._waited = self._count = 0
        self._begin = self._end = None
        self._warned = -1

    def before_train_epoch(self, runner) -> None:
        """Leave out what came after the last epoch."""
        self._leave_out()

    def after_val(self, runner) -> None:
        """Leave out a validation, which may come within an epoch."""
        self._leave_out()

    def _leave_out(self) -> None:
        """Move the clock over what came after the last iteration."""
        if self._end is not None:
            gap = time.perf_counter() - self._end
            self._begin += gap
            self._end += gap

    def before_train_iter(self, runner, batch_idx: int, data_batch=None):
        """The batch is there: count how long that took."""
        now = time.perf_counter()
        if self._begin is None:
            self._begin = now
        else:
            self._waited += now - self._end

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Log the share at the end of a window."""
        self._end = time.perf_counter()
        self._count += 1
        if self._count < self.window:
            return
        share = self._waited / max(self._end - self._begin, 1e-9)
        if get_world_size() > 1:
            largest = torch.tensor([share], device=get_device())
            all_reduce(largest, 'max')
            share = largest.item()
        self._waited, self._count, self._begin = 0, 0, self._end
        runner.message_hub.update_scalar('train/loader_wait', share)
        if share >= self.limit and self._warned != runner.epoch:
            self._warned = runner.epoch
            workers = getattr(runner.train_dataloader, 'num_workers', 0)
            runner.logger.warning(
                f'{share:.0%} of the last {self.window} iterations went into '
                'waiting for images: training is as fast as they are loaded. '
                f'Raise train_dataloader.num_workers ({workers:d}) if there '
                'are cores left, or store the images smaller'
            )


@HOOKS.register_module()
class FreezeGarbageHook(Hook):
    """Keeps Python from searching what is there for good for garbage.

    Modules, classes and the model are more than a million objects; a full
    search takes a third of a second, in the middle of some step. A program
    that has frozen what it imports, as ``tools/train.py`` does, is left alone.
    """

    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        """Leave out of each search what exists by now."""
        self._frozen = not gc.get_freeze_count()
        if self._frozen:
            gc.collect()
            gc.freeze()

    def after_train(self, runner) -> None:
        """Search everything again."""
        if self._frozen:
            gc.unfreeze()
