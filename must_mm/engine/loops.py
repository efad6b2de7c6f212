"""Validation and test of student and teacher in one pass."""

import copy
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import TestLoop, ValLoop
from mmpretrain.registry import HOOKS, LOOPS

from ..models.must import MUST, STUDENT, TEACHER
from ..utils.distributed import unwrap


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
        """Predict one batch with student and teacher.

        Hooks get the predictions of the one that is configured.
        """
        phase = self.phase
        self.runner.call_hook(
            f'before_{phase}_iter', batch_idx=idx, data_batch=data_batch
        )
        model = unwrap(self.runner.model, MUST)
        configured = model.predict_with
        # the configured one last: predictions may be set in the batch itself
        order = sorted(self.evaluators, key=lambda who: who == configured)
        try:
            for model.predict_with in order:
                with torch.autocast(
                    model.data_preprocessor.device.type, enabled=self.fp16
                ):
                    outputs = model.val_step(data_batch)
                self.evaluators[model.predict_with].process(
                    data_samples=outputs, data_batch=data_batch
                )
        finally:
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
