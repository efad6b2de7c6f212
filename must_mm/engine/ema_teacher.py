"""Keeps the teacher an average of the student while a run trains."""

import math

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..models.ema import ema_decay, ema_update
from ..models.must import MUST
from ..utils.distributed import check_whole_weights, unwrap
from ..utils.validation import check_integer, check_number


@HOOKS.register_module()
class EMATeacherHook(Hook):
    """Keeps the teacher an exponential moving average of the student.

    The teacher starts as an exact copy once all weights are loaded. It is
    updated after the optimizer's steps, or once per ``images_per_update``
    images where these are more than a step takes: a decay that is scaled to
    a small batch instead comes so close to 1 that in float32 the teacher's
    step is rounded away. Where a step takes more, its updates are taken at
    once. Accumulation is respected, a step that mixed precision skips does
    not count. What was counted is saved and resumed, on any number of GPUs;
    the teacher itself is part of the model.

    Args:
        decay_start: Decay ``d0`` at the first update, in [0, 1].
        decay_end: Decay after the ramp, in [0, 1].
        warmup_steps: Length of the linear ramp, in updates.
        images_per_update: Images of all ranks for one update; ``None``
            updates after every step.

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
        images_per_update: int | None = None,
    ) -> None:
        for name, decay in (
            ('decay_start', decay_start),
            ('decay_end', decay_end),
        ):
            check_number(f'EMATeacherHook.{name}', decay, '[0, 1]')
        check_integer('EMATeacherHook.warmup_steps', warmup_steps, at_least=0)
        if images_per_update is not None:
            check_integer(
                'EMATeacherHook.images_per_update', images_per_update
            )
        self.decay_start = decay_start
        self.decay_end = decay_end
        self.warmup_steps = warmup_steps
        self.images_per_update = images_per_update
        self.step = 0
        #: Images, or steps, since the last update.
        self.images = 0
        self._accumulated = 0  # images since the optimizer's last step
        self._stepped, self._found_inf = False, None
        # images of steps, and where a fused optimizer notes that it skips one
        self._steps: list[tuple[int, torch.Tensor | None]] = []
        self._handle = None

    def decay(self, updates: int = 1) -> float:
        """The decay of the next updates together, as one."""
        return math.prod(
            ema_decay(
                step, self.decay_start, self.decay_end, self.warmup_steps
            )
            for step in range(self.step, self.step + updates)
        )

    def before_train(self, runner) -> None:
        """Make the weights the start of the run, unless it is resumed.

        The teacher is synchronised, and what an earlier start has said
        forgotten.

        Raises:
            ValueError: If the weights are sharded.
        """
        check_whole_weights(runner.model)
        model = unwrap(runner.model, MUST)
        if not runner._resume:
            self.step = self.images = 0
            model.sync_teacher()
            if model.pseudo_labels is not None:
                # the numbers may be those of other images
                model.pseudo_labels.start.forget()
        # once: naming all weights takes longer than updating them
        self._averaged, self._current = map(
            list, zip(*model.teacher_and_student(), strict=True)
        )
        self._handle = runner.optim_wrapper.optimizer.register_step_post_hook(
            self._after_step
        )

    def after_train(self, runner) -> None:
        """Let the optimizer go."""
        self._handle.remove()

    def _after_step(self, optimizer, args, kwargs) -> None:
        # mixed precision skips a step by not calling it; a fused optimizer
        # is called, and told on the device
        self._stepped = True
        self._found_inf = getattr(optimizer, 'found_inf', None)

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch=None,
        outputs: dict | None = None,
    ) -> None:
        """Update the teacher where it is due."""
        self._accumulated += (
            runner.train_dataloader.batch_size * get_world_size()
        )
        if not runner.optim_wrapper.should_update():
            return
        if self._stepped:
            count = self._accumulated if self.images_per_update else 1
            self._steps.append((count, self._found_inf))
        self._accumulated, self._stepped, self._found_inf = 0, False, None
        per_update = self.images_per_update or 1
        if self.images + sum(count for count, _ in self._steps) < per_update:
            return
        self._settle()
        updates, self.images = divmod(self.images, per_update)
        if updates:
            decay = self.decay(updates)
            ema_update(self._averaged, self._current, decay)
            runner.message_hub.update_scalar('train/ema_decay', decay)
            self.step += updates

    def _settle(self) -> None:
        """Count the steps that were taken; of a fused optimizer, ask which."""
        flags = [flag for _, flag in self._steps if flag is not None]
        skipped = iter(torch.stack(flags).flatten().tolist() if flags else ())
        for count, flag in self._steps:
            if flag is None or not next(skipped):
                self.images += count
        self._steps.clear()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save how many updates and images were counted."""
        self._settle()
        checkpoint[self.STATE] = dict(step=self.step, images=self.images)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on counting.

        Raises:
            ValueError: If a run is resumed from a checkpoint without it.
        """
        if not runner._resume:
            return
        state = checkpoint.get(self.STATE)
        # runs that updated after every step counted no images
        if not isinstance(state, dict) or any(
            type(number) is not int
            for number in (state.get('step'), state.get('images', 0))
        ):
            raise ValueError(
                f'{runner._load_from or "the checkpoint to resume"} holds no '
                'EMA teacher state: it was not written by a MUST run. Use '
                'load_from to start from its weights instead of --resume'
            )
        self.step, self.images = state['step'], state.get('images', 0)
