"""Sick training: detected, named with what to change, and counted."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn as nn
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch.nn.utils import get_total_norm

from ..checkpoints.resume import saved_values
from ..utils.distributed import unwrap
from ..utils.validation import check_integer
from .late_scalars import LateScalars

TEACHER_CONFIDENCE = 'teacher_confidence'
CONFIDENT = 'conf_ratio'
GRADIENT_NORM = 'gradient norm'
OF_INTEREST = (TEACHER_CONFIDENCE, CONFIDENT)


@dataclass
class Counts:
    """Iterations with a finding, and how long the present row of them is.

    The summary of a run shows what has no leading ``row``.
    """

    iterations: int = 0
    non_finite_losses: int = 0
    non_finite_gradients: int = 0
    non_finite_teacher: int = 0
    skipped_steps: int = 0
    without_confident_sample: int = 0
    row_skipped: int = 0
    row_without_confident: int = 0

    def summary(self) -> dict[str, int]:
        """Return the counts without the rows."""
        return {
            name: count
            for name, count in asdict(self).items()
            if not name.startswith('row')
        }

    def add_step(self, skipped: bool) -> None:
        """Count a step of the optimizer, which AMP may have skipped."""
        self.skipped_steps += skipped
        self.row_skipped = (self.row_skipped + 1) * skipped

    def add_confidence(self, share: float) -> None:
        """Count an iteration with this share of confident samples."""
        none = share == 0
        self.without_confident_sample += none
        self.row_without_confident = (self.row_without_confident + 1) * none


class Step(NamedTuple):
    """Number of an iteration, from 1, and whether the optimizer stepped."""

    iteration: int
    updated: bool


def is_due(row: int, patience: int) -> bool:
    """Whether to warn: a row is ``patience`` times 1, 2, 4, 8, ... long."""
    times, rest = divmod(row, patience)
    return row > 0 and rest == 0 and times & (times - 1) == 0


def not_finite(values: dict[str, float]) -> list[str]:
    """Names of the values that are NaN or infinite."""
    return [n for n, v in values.items() if not math.isfinite(v)]


def damaged(model: nn.Module) -> Iterator[str]:
    """Names of the parameters that are not finite."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            yield name


@HOOKS.register_module()
class HealthHook(Hook):
    """Watches losses, gradients, teacher and confidence.

    A value that is not finite stops the run before it reaches a checkpoint,
    and with ``interval=1`` before it reaches the teacher; the other findings
    are warnings, repeated after twice the time. All are counted: in the log
    at the end, and in ``health.json`` in the work dir after every epoch. A
    resumed run goes on counting.

    The norm of the gradients is computed before the optimizer steps, and
    read with the losses after it; a GPU waits for that once in ``interval``
    iterations.

    Args:
        interval: Iterations whose values are read together, at least 1.
        patience: Iterations in a row without a confident sample, after which
            to warn; at least 1.
        max_skipped_steps: Steps that automatic mixed precision may skip in
            a row before the run stops; at least 1. Some are normal at the
            start, while the scale of the loss is found.

    Raises:
        ValueError: If a value is out of its range.
    """

    # before the teacher is updated and anything is saved
    priority = 'HIGH'
    STATE = 'health'
    FILE = 'health.json'

    def __init__(
        self,
        interval: int = 1,
        patience: int = 50,
        max_skipped_steps: int = 30,
    ) -> None:
        check_integer('HealthHook.interval', interval)
        check_integer('HealthHook.patience', patience)
        check_integer('HealthHook.max_skipped_steps', max_skipped_steps)
        self.interval = interval
        self.patience = patience
        self.max_skipped_steps = max_skipped_steps
        self.counts = Counts()
        self._gradient_norm = None
        self._handle = None
        self._late = LateScalars()
        self._steps: list[Step] = []

    # --------------------------------------------------------------- phases

    def before_train(self, runner) -> None:
        """Watch the optimizer's steps."""
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(
            self._before_step
        )

    @torch.no_grad()
    def _before_step(self, optimizer, args, kwargs) -> None:
        # a fused optimizer gets the scaled gradients, and skips by itself:
        # all that is known of their norm is whether it is finite
        found_inf = getattr(optimizer, 'found_inf', None)
        if found_inf is not None:
            self._gradient_norm = torch.where(found_inf > 0, torch.inf, 0.0)
            return
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        self._gradient_norm = get_total_norm(gradients)

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch=None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the values of this iteration; check where they are due.

        Raises:
            FloatingPointError: If a loss, the gradients or the teacher's
                predictions are not finite, or too many steps in a row were
                skipped; with the iteration, what it was, the checkpoint to
                resume from and what to change.
        """
        values = {
            name: value
            for name, value in (outputs or {}).items()
            if 'loss' in name or name in OF_INTEREST
        }
        if self._gradient_norm is not None:
            values[GRADIENT_NORM] = self._gradient_norm
            self._gradient_norm = None
        self._late.add(values)
        self._steps.append(
            Step(runner.iter + 1, runner.optim_wrapper.should_update())
        )
        if len(self._steps) >= self.interval:
            self._check(runner)

    def before_val_epoch(self, runner) -> None:
        """Check what was not read yet."""
        self._check(runner)

    def after_train_epoch(self, runner) -> None:
        """Check what was not read yet, and write the counts."""
        self._check(runner)
        self._write(runner)

    def after_train(self, runner) -> None:
        """Write and log the counts."""
        self._handle.remove()
        self._check(runner)
        runner.logger.info(f'health: {self._write(runner)}')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check what was not read yet: what is sick is not saved."""
        self._check(runner)
        checkpoint[self.STATE] = asdict(self.counts)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on with the counts of the run that is resumed."""
        if runner._resume:
            saved = saved_values(runner, checkpoint, self.STATE, int)
            known = asdict(self.counts)
            self.counts = Counts(
                **{name: saved.get(name, known[name]) for name in known}
            )

    # --------------------------------------------------------------- checks

    def _check(self, runner) -> None:
        steps, self._steps = self._steps, []
        for step, values in zip(steps, self._late.read(), strict=True):
            norm = values.pop(GRADIENT_NORM, None)
            watched = {n: values.pop(n) for n in OF_INTEREST if n in values}
            self.counts.iterations += 1
            self._check_teacher(runner, step, watched)
            self._check_losses(runner, step, values)
            self._check_step(runner, step, norm, values)
            self._check_confidence(runner, watched)

    def _check_losses(
        self, runner, step: Step, losses: dict[str, float]
    ) -> None:
        # the sum is named where no single term is to blame
        bad = not_finite(losses)
        bad = [n for n in bad if n != 'loss'] or bad
        if not bad:
            return
        self.counts.non_finite_losses += 1
        self._stop(
            runner,
            f'{" and ".join(bad)} of iteration {step.iteration} is not '
            f'finite ({_listed(losses)})',
            LOWER_RATE,
        )

    def _check_step(
        self, runner, step: Step, norm: float | None, losses: dict
    ) -> None:
        if not step.updated:
            return
        finite = norm is not None and not not_finite({'norm': norm})
        if hasattr(runner.optim_wrapper, 'loss_scaler'):
            self.counts.add_step(skipped=not finite)
            if self.counts.row_skipped >= self.max_skipped_steps:
                self._stop(
                    runner,
                    'mixed precision has skipped the last '
                    f'{self.counts.row_skipped} steps, up to iteration '
                    f'{step.iteration}: gradients overflow at any scale of '
                    'the loss',
                    "optim_wrapper.type='AutocastOptimWrapper' (bfloat16) "
                    'needs no scale, or '
                    "optim_wrapper.type='OptimWrapper' trains in full "
                    'precision',
                )
        elif not finite:
            self.counts.non_finite_gradients += 1
            model = unwrap(runner.model, nn.Module)
            self._stop(
                runner,
                f'the gradients of iteration {step.iteration} are not '
                f'finite (norm {norm}), its losses are ({_listed(losses)}); '
                f'the step damaged {_some(damaged(model))}',
                LOWER_RATE,
            )

    def _check_teacher(
        self, runner, step: Step, watched: dict[str, float]
    ) -> None:
        if not not_finite(watched):
            return
        self.counts.non_finite_teacher += 1
        weights = _some(damaged(unwrap(runner.model, nn.Module).teacher))
        self._stop(
            runner,
            f"the teacher's predictions of iteration {step.iteration} are "
            f'not finite (damaged weights of the teacher: {weights})',
            'check the weights of model.start or load_from if it is the '
            'first iteration; a lower optim_wrapper.optimizer.lr, and '
            "optim_wrapper.type='AutocastOptimWrapper', keep the "
            'student sound, which the teacher follows',
        )

    def _check_confidence(self, runner, watched: dict[str, float]) -> None:
        if CONFIDENT not in watched:
            return
        self.counts.add_confidence(watched[CONFIDENT])
        row = self.counts.row_without_confident
        if is_due(row, self.patience):
            threshold = unwrap(runner.model, nn.Module).head.threshold
            runner.logger.warning(
                f'no sample was confident in the last {row} iterations: '
                'nothing is learned from pseudo-labels. The confidence of '
                f'the teacher is {watched[TEACHER_CONFIDENCE]:.2f} on '
                f'average, model.head.threshold {threshold}: lower it, and '
                'see whether model.start.classes and templates name what '
                'the images show'
            )

    # ------------------------------------------------------------- reports

    def _stop(self, runner, what: str, advice: str) -> None:
        self._write(runner)
        checkpoint = runner.message_hub.get_info('last_ckpt', None)
        back = (
            f'Resume from {checkpoint} with --resume'
            if checkpoint
            else 'No checkpoint was written yet'
        )
        raise FloatingPointError(f'{what}. {back}; {advice}')

    def _write(self, runner) -> str:
        summary = dict(
            self.counts.summary(),
            unreadable_images=runner.message_hub.get_info(
                'unreadable_images', 0
            ),
        )
        if is_main_process():
            file = Path(runner.work_dir, self.FILE)
            file.write_text(json.dumps(summary, indent=2) + '\n')
        return _listed(summary)


LOWER_RATE = (
    'a lower optim_wrapper.optimizer.lr or '
    'optim_wrapper.clip_grad=dict(max_norm=1.0) usually helps'
)


def _listed(values: dict[str, float]) -> str:
    return ', '.join(f'{name}={value:g}' for name, value in values.items())


def _some(names: Iterator[str], most: int = 3) -> str:
    names = list(names)
    more = ', ...' if len(names) > most else ''
    return ', '.join(names[:most]) + more or 'none'
