"""Checkpoints that a crash or a full disk cannot take away."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmpretrain.registry import HOOKS

from ..checkpoints.resume import check_state
from ..checkpoints.whole_file import remove_partials, write_whole


@register_backend('whole_file')
class WholeFileBackend(LocalBackend):
    """MMEngine's local files, written by :func:`write_whole`.

    Removals wait for :meth:`remove_outdated`.
    """

    def __init__(self) -> None:
        self.outdated = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file that appears once it is whole."""
        write_whole(filepath, obj)

    def remove(self, filepath: str | Path) -> None:
        """Note a file that is to go."""
        self.outdated.append(Path(filepath))

    def remove_outdated(self) -> None:
        """Remove the noted files: what replaces them is on the disk."""
        while self.outdated:
            self.outdated.pop().unlink(missing_ok=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's :class:`CheckpointHook` in an order that loses nothing.

    A checkpoint is written under a temporary name, synced and renamed, then
    ``last_checkpoint`` names it, and only then an outdated one is removed;
    MMEngine removes first and writes in place. Takes the same arguments. An
    ``out_dir`` that is not on a local disk is left to MMEngine.
    """

    is_local = False

    def before_train(self, runner) -> None:
        """Choose how files are written; remove what a crash has left."""
        super().before_train(runner)
        self.is_local = type(self.file_backend) is LocalBackend
        if not self.is_local:
            return
        self.backend_args = dict(backend='whole_file')
        self.file_backend = WholeFileBackend()
        if is_main_process():
            remove_partials(self.out_dir)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse to resume from the state of another run."""
        if runner._resume:
            check_state(runner, checkpoint)

    def _save_checkpoint_with_step(self, runner, step: int, meta) -> None:
        """Write the checkpoint, point to it, remove what is outdated.

        Raises:
            OSError: If the disk is full; see :func:`write_whole`.
        """
        if not self.is_local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        self.last_ckpt = str(
            Path(self.out_dir, self.filename_tmpl.format(step))
        )
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.filename_tmpl.format(self.keep_ckpt_ids[0])
                self.file_backend.remove(Path(self.out_dir, outdated))
            # with the outdated one: killed before it is removed, the run
            # removes it when it is resumed
            runner.message_hub.update_info(
                'keep_ckpt_ids', [*self.keep_ckpt_ids, step]
            )
            self.keep_ckpt_ids.append(step)
        runner.save_checkpoint(
            str(self.out_dir),
            self.filename_tmpl.format(step),
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            pointer = Path(runner.work_dir, 'last_checkpoint')
            write_whole(pointer, self.last_ckpt.encode())
            self.file_backend.remove_outdated()

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save a new best checkpoint; the old one goes after it is whole."""
        super()._save_best_checkpoint(runner, metrics)
        if self.is_local and is_main_process():
            self.file_backend.remove_outdated()
