"""The EMA teacher: its ramp, its update, its hook and its validation.

``decay`` is the weight of the old teacher, as in the paper; MMEngine's
``momentum`` is ``1 - decay`` and is not used here.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop, ValLoop
from mmpretrain.registry import HOOKS, LOOPS

from ..models.must import MUST, STUDENT, TEACHER
from ..utils.validation import check_integer, check_number, check_type


def ema_decay(step: int, start: float, end: float, warmup_steps: int) -> float:
    """Linear ramp ``d0 + (d1 - d0) * min(1, t / T_warm)`` (Sec. 3.1).

    Args:
        step: Number ``t`` of optimizer steps before this one.
        start: Decay ``d0`` at the first step, in [0, 1].
        end: Decay ``d1`` after the ramp, in [0, 1].
        warmup_steps: Length ``T_warm`` of the ramp in optimizer steps.
    """
    ramp = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return start + (end - start) * ramp


@torch.no_grad()
def ema_update(
    averaged: Sequence[torch.Tensor],
    current: Sequence[torch.Tensor],
    decay: float,
    foreach: bool = True,
) -> None:
    """In place ``averaged = decay * averaged + (1 - decay) * current``.

    Integer tensors (counters of batch norms) are copied.

    Args:
        averaged: Tensors to update.
        current: As many tensors of the same shapes.
        decay: Weight of the past, in [0, 1].
        foreach: Whether one call updates all, or one call each.
    """
    pairs = list(zip(averaged, current, strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    if floating and foreach:
        torch._foreach_lerp_(
            *map(list, zip(*floating, strict=False)), weight=1 - decay
        )
    elif floating:
        for target, source in floating:
            target.lerp_(source, 1 - decay)
    for target, source in pairs:
        if not target.is_floating_point():
            target.copy_(source)


def unwrap(model: nn.Module, kind: type[nn.Module] = MUST) -> nn.Module:
    """Return the model inside a data-parallel wrapper.

    Args:
        model: The model, wrapped or not.
        kind: What it must be.

    Raises:
        TypeError: If it is another model.
    """
    model = model.module if is_model_wrapper(model) else model
    if not isinstance(model, kind):
        raise TypeError(
            f"this part of the config needs model.type='{kind.__name__}', "
            f'got {type(model).__name__}'
        )
    return model


@HOOKS.register_module()
class EMATeacherHook(Hook):
    """Keeps the teacher an exponential moving average of the student.

    The teacher starts as an exact copy once all weights are loaded, and is
    updated after every optimizer step (not every iteration: accumulation is
    respected). The number of steps taken is saved and resumed, the teacher
    itself is part of the model.

    Args:
        decay_start: Decay ``d0`` at the first step, in [0, 1].
        decay_end: Decay after the ramp, in [0, 1].
        warmup_steps: Length of the linear ramp, in optimizer steps.
        foreach: Whether one call updates all weights, or one call each.

    Raises:
        ValueError: If a decay is outside [0, 1] or the ramp is negative.
    """

    priority = 'NORMAL'
    STATE = 'ema_teacher'

    def __init__(
        self,
        decay_start: float = 0.999,
        decay_end: float = 0.9998,
        warmup_steps: int = 2000,
        foreach: bool = True,
    ) -> None:
        check_type('EMATeacherHook.foreach', foreach, bool)
        for name, decay in (
            ('decay_start', decay_start),
            ('decay_end', decay_end),
        ):
            check_number(f'EMATeacherHook.{name}', decay, '[0, 1]')
        check_integer('EMATeacherHook.warmup_steps', warmup_steps, at_least=0)
        self.decay_start = decay_start
        self.decay_end = decay_end
        self.warmup_steps = warmup_steps
        self.foreach = foreach
        self.step = 0

    def decay(self) -> float:
        """The decay of the next update."""
        return ema_decay(
            self.step, self.decay_start, self.decay_end, self.warmup_steps
        )

    def before_train(self, runner) -> None:
        """Synchronise the teacher, unless the run is resumed."""
        model = unwrap(runner.model)
        if not runner._resume:
            self.step = 0
            model.sync_teacher()
        # once: naming all weights takes longer than updating them
        self._averaged, self._current = map(
            list, zip(*model.teacher_and_student(), strict=True)
        )

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch=None,
        outputs: dict | None = None,
    ) -> None:
        """Update the teacher if the optimizer stepped in this iteration."""
        if not runner.optim_wrapper.should_update():
            return
        decay = self.decay()
        ema_update(self._averaged, self._current, decay, self.foreach)
        runner.message_hub.update_scalar('train/ema_decay', decay)
        self.step += 1

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save how many steps the ramp has taken."""
        checkpoint[self.STATE] = dict(step=self.step)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Resume the ramp.

        Raises:
            ValueError: If a run is resumed from a checkpoint without it.
        """
        if not runner._resume:
            return
        state = checkpoint.get(self.STATE)
        if not isinstance(state, dict) or type(state.get('step')) is not int:
            raise ValueError(
                f'{runner._load_from or "the checkpoint to resume"} holds no '
                'EMA teacher state: it was not written by a MUST run. Use '
                'load_from to start from its weights instead of --resume'
            )
        self.step = state['step']


@HOOKS.register_module()
class ValidateStartHook(Hook):
    """Validates before the first iteration: the log begins at the start.

    Without it nobody could tell what the training has gained.
    """

    # After the teacher is synchronised, and after every other hook has made
    # itself ready: CheckpointHook's save_best reacts to a validation.
    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        """Validate, unless the run is resumed or has no validation."""
        if runner.val_loop is not None and not runner._resume:
            runner.val_loop.run()


class _TeacherBesideStudent:
    """Evaluates both networks in one pass over a validation or test set.

    The metrics appear as ``student/...`` and ``teacher/...``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.evaluators = {
            STUDENT: self.evaluator,
            TEACHER: copy.deepcopy(self.evaluator),
        }

    def run(self) -> dict[str, float]:
        """Run the pass and return the metrics of both."""
        phase = self.phase
        self.runner.call_hook(f'before_{phase}')
        self.runner.call_hook(f'before_{phase}_epoch')
        self.runner.model.eval()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        metrics = {
            f'{who}/{key}': value
            for who, evaluator in self.evaluators.items()
            for key, value in evaluator.evaluate(
                len(self.dataloader.dataset)
            ).items()
        }
        self.runner.call_hook(f'after_{phase}_epoch', metrics=metrics)
        self.runner.call_hook(f'after_{phase}')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict | Sequence) -> None:
        """Predict one batch with student and teacher."""
        phase = self.phase
        self.runner.call_hook(
            f'before_{phase}_iter', batch_idx=idx, data_batch=data_batch
        )
        model = unwrap(self.runner.model)
        configured = model.predict_with
        for who, evaluator in self.evaluators.items():
            model.predict_with = who
            with torch.autocast(
                model.data_preprocessor.device.type, enabled=self.fp16
            ):
                outputs = model.val_step(data_batch)
            evaluator.process(data_samples=outputs, data_batch=data_batch)
        model.predict_with = configured
        self.runner.call_hook(
            f'after_{phase}_iter',
            batch_idx=idx,
            data_batch=data_batch,
            outputs=outputs,
        )


@LOOPS.register_module()
class TeacherStudentValLoop(_TeacherBesideStudent, ValLoop):
    """Validation of student and teacher; see MMEngine's ``ValLoop``."""

    phase = 'val'


@LOOPS.register_module()
class TeacherStudentTestLoop(_TeacherBesideStudent, TestLoop):
    """Test of student and teacher; see MMEngine's ``TestLoop``."""

    phase = 'test'
