"""Batch norms that know what all ranks have seen."""

import torch.nn as nn
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..utils.distributed import unwrap


@HOOKS.register_module()
class BatchNormHook(Hook):
    """Averages the running statistics of batch norms over the ranks.

    After every iteration, before the teacher takes them: with neither
    synchronised batch norm nor this, each rank would have a teacher of its
    own, and validate with statistics of a part of the images. The mean over
    ranks is that of the whole batch; of the variances it leaves out how the
    ranks' means differ.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Average what this iteration has changed."""
        if get_world_size() == 1:
            return
        statistics = [
            buffer
            for module in unwrap(runner.model, nn.Module).modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and module.training
            and module.running_mean is not None
            for buffer in (module.running_mean, module.running_var)
        ]
        if statistics:
            all_reduce_params(statistics, op='mean')
