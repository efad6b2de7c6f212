"""Compile the blocks of a network with torch.compile."""

from collections.abc import Sequence

import numpy as np
import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS

from .validation import check_type

BLOCKS = ('backbone.layers', 'teacher.backbone.layers')


def compile_blocks(
    model: nn.Module, blocks: Sequence[str], options: dict
) -> int:
    """Compile modules in place; names and values of weights stay.

    Args:
        model: The model.
        blocks: Names of modules in it; of a list of modules, each is
            compiled on its own. Equal blocks share their code, so that
            compiling takes little longer than for one.
        options: Arguments of ``torch.compile``.

    Returns:
        How many modules were compiled.

    Raises:
        ValueError: If the model has no such module.
    """
    modules = []
    for name in blocks:
        try:
            found = model.get_submodule(name)
        except AttributeError as error:
            raise ValueError(
                f'CompileBlocksHook.blocks: {type(model).__name__} has no '
                f'module {name!r}'
            ) from error
        modules += found if isinstance(found, nn.ModuleList) else [found]
    for module in modules:
        for part in module.modules():
            # MMPretrain's drop path rates; a compiler takes NumPy's numbers
            # for tensors, which inference mode then tells apart
            if isinstance(getattr(part, 'drop_prob', None), np.floating):
                part.drop_prob = float(part.drop_prob)
        module.compile(**options)
    return len(modules)


@HOOKS.register_module()
class CompileBlocksHook(Hook):
    """Compiles the blocks of student and teacher before training.

    Blocks, not the step: what is around them (masks set by hooks, lists of
    samples) changes with every batch, and the blocks take the time. The first
    iterations compile, which takes minutes for a large model and needs a C++
    compiler on a CPU.

    Args:
        blocks: Names of the modules to compile in the model; lists of modules
            are compiled one by one.
        options: Arguments of ``torch.compile``, such as
            ``dict(mode='max-autotune-no-cudagraphs')``.

    Raises:
        TypeError: If an argument is of another type.
    """

    def __init__(
        self, blocks: Sequence[str] = BLOCKS, options: dict | None = None
    ) -> None:
        check_type('CompileBlocksHook.blocks', blocks, list, tuple)
        for name in blocks:
            check_type('CompileBlocksHook.blocks', name, str)
        check_type('CompileBlocksHook.options', options, dict, type(None))
        self.blocks = tuple(blocks)
        self.options = dict(options or {})

    def before_train(self, runner) -> None:
        """Compile.

        Raises:
            ValueError: If the model has no such module.
        """
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        count = compile_blocks(model, self.blocks, self.options)
        runner.logger.info(
            f'{count} blocks are compiled in the first iterations'
        )
