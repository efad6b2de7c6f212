"""What can be done to a network's blocks: compile them, recompute them."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn as nn
from mmcv.cnn.bricks import DropPath
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from ..models.lean_vision_transformer import EncoderLayer
from ..utils.distributed import unwrap
from ..utils.validation import check_type

STUDENT = ('backbone.layers',)
STUDENT_AND_TEACHER = (*STUDENT, 'teacher.backbone.layers')


class AnyRateDropPath(nn.Module):
    """Drop path (stochastic depth) whose compiled code serves any rate.

    MMPretrain's has its rate as a number, which a compiler writes into the
    code: a graph for every block, until it gives up.

    Args:
        rate: Probability of a sample to lose the path, in [0, 1).
        device: Where the module runs.
    """

    def __init__(self, rate: float, device: torch.device) -> None:
        super().__init__()
        # no buffer: neither saved nor averaged
        self.keep = torch.tensor(1 - float(rate), device=device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop the path of some samples of (B, ...), scale the others."""
        if not self.training:
            return x
        drawn = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        return x * ((drawn < self.keep) / self.keep).to(x.dtype)


def share_drop_path(blocks: Sequence[nn.Module]) -> None:
    """Let drop paths of unequal rates have one code, in place."""
    found = [
        (parent, name, part)
        for block in blocks
        for parent in block.modules()
        for name, part in parent.named_children()
        if isinstance(part, DropPath)
    ]
    differ = len({float(part.drop_prob) for *_, part in found}) > 1
    for parent, name, part in found:
        # MMPretrain's is NumPy's number, which a compiler takes for a tensor
        part.drop_prob = float(part.drop_prob)
        if differ:
            device = next(parent.parameters()).device
            shared = AnyRateDropPath(part.drop_prob, device)
            setattr(parent, name, shared.train(part.training))


def compile_blocks(blocks: Sequence[nn.Module], options: dict) -> None:
    """Compile modules in place; names and values of weights stay.

    Equal blocks share their code, so that compiling all takes little longer
    than compiling one.

    Args:
        blocks: The modules.
        options: Arguments of ``torch.compile``.
    """
    share_drop_path(blocks)
    for block in blocks:
        block.compile(**options)


def _recomputed(forward: Callable, *args, **kwargs):
    # a function of ours: a compiler does not look into torch's checkpoint,
    # and would compile nothing if that were outermost
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def recompute_blocks(blocks: Sequence[nn.Module]) -> None:
    """Let modules keep their inputs alone for the gradient, in place.

    What lies between is computed a second time on the way back, with the same
    random numbers; names and values of weights stay. Compiled blocks
    recompute within their code.
    """
    for block in blocks:
        # on the way back nobody tells a block again which tokens are read:
        # that has to be among what is kept
        name = 'compute' if isinstance(block, EncoderLayer) else 'forward'
        setattr(block, name, partial(_recomputed, getattr(block, name)))


def why_not_compiled(device: torch.device, options: dict) -> str:
    """Say why ``torch.compile`` cannot serve a device; nothing if it can.

    Args:
        device: The device.
        options: Arguments of ``torch.compile``.
    """
    try:
        torch.compile(torch.sin, **options)(torch.ones(1, 1, 2, device=device))
    except Exception as error:  # of any of the compilers
        return f'{type(error).__name__}: {str(error).strip().splitlines()[0]}'
    return ''


class _BlocksHook(Hook):
    """Does something to the blocks of a model before training."""

    #: Modules that are taken by default, where the model has them.
    usual: tuple[str, ...]

    def __init__(self, blocks: Sequence[str] | None = None) -> None:
        key = f'{type(self).__name__}.blocks'
        check_type(key, blocks, list, tuple, type(None))
        for name in blocks or ():
            check_type(key, name, str)
        self.blocks = blocks

    def find(self, runner) -> list[nn.Module]:
        """Return the modules of ``blocks``, those of a sequence one by one.

        Raises:
            ValueError: If the model lacks one that was named.
        """
        model = unwrap(runner.model, nn.Module)
        modules = []
        for name in self.usual if self.blocks is None else self.blocks:
            try:
                found = model.get_submodule(name)
            except AttributeError as error:
                if self.blocks is None:
                    continue
                raise ValueError(
                    f'{type(self).__name__}.blocks: {type(model).__name__} '
                    f'has no module {name!r}'
                ) from error
            # one checkpoint over a whole trunk would save nothing
            several = isinstance(found, (nn.ModuleList, nn.Sequential))
            modules += found if several else [found]
        return modules


@HOOKS.register_module()
class CompileBlocksHook(_BlocksHook):
    """Compiles the blocks of student and teacher before training.

    Blocks, not the step: what is around them (masks set by hooks, lists of
    samples) changes with every batch, and the blocks take the time. The first
    iterations compile, which takes minutes for a large model and needs Triton
    on a GPU and a C++ compiler. Where these are missing, the log says so and
    training goes on without. It also says when blocks are compiled again after
    the first epoch (of a resumed run, the first since then): code that is made
    anew for every other batch costs more than it saves.

    Args:
        blocks: Names of the modules to compile in the model; those of a list
            or an ``nn.Sequential`` are compiled one by one. By default the
            ``layers`` of the backbone and of the teacher's, where they have
            some.
        options: Arguments of ``torch.compile``, such as
            ``dict(mode='max-autotune-no-cudagraphs')``. Without ``dynamic``,
            each batch size gets code of its own: validation brings others
            than training, which would otherwise train with code for any.
        device: ``'cuda'`` or another type of device on which alone to
            compile; any by default.

    Raises:
        TypeError: If an argument is of another type.
    """

    usual = STUDENT_AND_TEACHER

    def __init__(
        self,
        blocks: Sequence[str] | None = None,
        options: dict | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(blocks)
        check_type('CompileBlocksHook.options', options, dict, type(None))
        check_type('CompileBlocksHook.device', device, str, type(None))
        self.options = dict(dynamic=False) | (options or {})
        self.device = device

    def before_train(self, runner) -> None:
        """Compile.

        Raises:
            ValueError: If the model has no such module.
        """
        self._graphs = None
        device = next(runner.model.parameters()).device
        if self.device not in (None, device.type):
            return
        blocks = self.find(runner)
        if not blocks:
            return
        reason = why_not_compiled(device, self.options)
        if reason:
            runner.logger.warning(
                f'CompileBlocksHook: nothing is compiled here: {reason}'
            )
            return
        compile_blocks(blocks, self.options)
        self._graphs = _compiled_graphs()
        # a resumed run compiles anew, however far it has come
        self._settled = runner.iter + len(runner.train_dataloader)
        runner.logger.info(
            f'{len(blocks)} blocks are compiled in the first iterations'
        )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None):
        """Remember what is compiled already."""
        self._before = _compiled_graphs()

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Say how many graphs there are, and when there are more later."""
        if self._graphs is None:
            return
        now = _compiled_graphs()
        if runner.iter + 1 == self._settled:
            runner.logger.info(f'compiled graphs: {now - self._graphs}')
        elif runner.iter + 1 > self._settled and now > self._before:
            runner.logger.warning(
                f'blocks were compiled again in iteration {runner.iter + 1}, '
                f'{now - self._graphs} graphs by now. If that goes on, take '
                'CompileBlocksHook out of custom_hooks; '
                'TORCH_LOGS=recompiles says why'
            )


def _compiled_graphs() -> int:
    """How many graphs this process has compiled."""
    return counters['stats']['unique_graphs']


@HOOKS.register_module()
class RecomputeBlocksHook(_BlocksHook):
    """Trades time for memory: activations in the blocks are recomputed.

    Known as activation checkpointing. MMEngine's key
    ``activation_checkpointing`` leaves a block without gradients if none of
    its inputs needs one, as behind frozen layers; this hook does not.

    Args:
        blocks: Names of the modules in the model; of a list or an
            ``nn.Sequential``, each module keeps its own input. By default the
            ``layers`` of the backbone.

    Raises:
        TypeError: If the argument is of another type.
    """

    usual = STUDENT

    def before_train(self, runner) -> None:
        """Wrap the blocks.

        Raises:
            ValueError: If the model has no such module.
        """
        blocks = self.find(runner)
        if not blocks:
            raise ValueError(
                f'RecomputeBlocksHook.blocks: {STUDENT[0]!r}, the default, is '
                'not in this model: name its blocks'
            )
        recompute_blocks(blocks)
