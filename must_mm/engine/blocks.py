"""What can be done to a network's blocks: compile them, recompute them."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch.nn as nn
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch.utils.checkpoint import checkpoint

from ..utils.distributed import unwrap
from ..utils.validation import check_type

STUDENT = ('backbone.layers',)
STUDENT_AND_TEACHER = (*STUDENT, 'teacher.backbone.layers')


def compile_blocks(blocks: Sequence[nn.Module], options: dict) -> None:
    """Compile modules in place; names and values of weights stay.

    Equal blocks share their code, so that compiling all takes little longer
    than compiling one.

    Args:
        blocks: The modules.
        options: Arguments of ``torch.compile``.
    """
    for block in blocks:
        for part in block.modules():
            # MMPretrain's drop path rates; a compiler takes NumPy's numbers
            # for tensors, which inference mode then tells apart
            if isinstance(getattr(part, 'drop_prob', None), np.floating):
                part.drop_prob = float(part.drop_prob)
        block.compile(**options)


def recompute_blocks(blocks: Sequence[nn.Module]) -> None:
    """Let modules keep their inputs alone for the gradient, in place.

    What lies between is computed a second time on the way back, with the same
    random numbers; names and values of weights stay.
    """
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


class _BlocksHook(Hook):
    """Does something to the blocks of a model before training."""

    def __init__(self, blocks: Sequence[str]) -> None:
        key = f'{type(self).__name__}.blocks'
        check_type(key, blocks, list, tuple)
        for name in blocks:
            check_type(key, name, str)
        self.blocks = tuple(blocks)

    def find(self, runner) -> list[nn.Module]:
        """Return the modules of ``blocks``, those of a list one by one.

        Raises:
            ValueError: If the model has no such module.
        """
        model = unwrap(runner.model, nn.Module)
        modules = []
        for name in self.blocks:
            try:
                found = model.get_submodule(name)
            except AttributeError as error:
                raise ValueError(
                    f'{type(self).__name__}.blocks: {type(model).__name__} '
                    f'has no module {name!r}'
                ) from error
            modules += found if isinstance(found, nn.ModuleList) else [found]
        return modules


@HOOKS.register_module()
class CompileBlocksHook(_BlocksHook):
    """Compiles the blocks of student and teacher before training.

    Blocks, not the step: what is around them (masks set by hooks, lists of
    samples) changes with every batch, and the blocks take the time. The first
    iterations compile, which takes minutes for a large model and needs a C++
    compiler on a CPU.

    Args:
        blocks: Names of the modules to compile in the model; lists of modules
            are compiled one by one.
        options: Arguments of ``torch.compile``, such as
            ``dict(mode='max-autotune-no-cudagraphs')``. Without ``dynamic``,
            each batch size gets code of its own: validation brings others
            than training, which would otherwise train with code for any.

    Raises:
        TypeError: If an argument is of another type.
    """

    def __init__(
        self,
        blocks: Sequence[str] = STUDENT_AND_TEACHER,
        options: dict | None = None,
    ) -> None:
        super().__init__(blocks)
        check_type('CompileBlocksHook.options', options, dict, type(None))
        self.options = dict(dynamic=False) | (options or {})

    def before_train(self, runner) -> None:
        """Compile.

        Raises:
            ValueError: If the model has no such module.
        """
        blocks = self.find(runner)
        compile_blocks(blocks, self.options)
        runner.logger.info(
            f'{len(blocks)} blocks are compiled in the first iterations'
        )


@HOOKS.register_module()
class RecomputeBlocksHook(_BlocksHook):
    """Trades time for memory: activations in the blocks are recomputed.

    Known as activation checkpointing. MMEngine's key
    ``activation_checkpointing`` leaves a block without gradients if none of
    its inputs needs one, as behind frozen layers; this hook does not.

    Args:
        blocks: Names of the modules in the model; of a list of modules, each
            keeps its own input.

    Raises:
        TypeError: If the argument is of another type.
    """

    def __init__(self, blocks: Sequence[str] = STUDENT) -> None:
        super().__init__(blocks)

    def before_train(self, runner) -> None:
        """Wrap the blocks.

        Raises:
            ValueError: If the model has no such module.
        """
        recompute_blocks(self.find(runner))
