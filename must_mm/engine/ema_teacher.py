"""Keeps the teacher an average of the student while a run trains."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..models.ema import ema_decay, ema_update
from ..models.must import MUST
from ..utils.distributed import unwrap
from ..utils.validation import check_integer, check_number


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
    ) -> None:
        for name, decay in (
            ('decay_start', decay_start),
            ('decay_end', decay_end),
        ):
            check_number(f'EMATeacherHook.{name}', decay, '[0, 1]')
        check_integer('EMATeacherHook.warmup_steps', warmup_steps, at_least=0)
        self.decay_start = decay_start
        self.decay_end = decay_end
        self.warmup_steps = warmup_steps
        self.step = 0

    def decay(self) -> float:
        """The decay of the next update."""
        return ema_decay(
            self.step, self.decay_start, self.decay_end, self.warmup_steps
        )

    def before_train(self, runner) -> None:
        """Synchronise the teacher, unless the run is resumed."""
        model = unwrap(runner.model, MUST)
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
        ema_update(self._averaged, self._current, decay)
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
