"""Checkpoints that a crash or a full disk cannot take away."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmpretrain.registry import HOOKS

from ..checkpoints.regroup import regroup
from ..checkpoints.resume import check_state, warn_of_rates
from ..checkpoints.whole_file import remove_partials, write_whole

#: Names in MMEngine's message hub: whether the run is sound, and the file of
#: the last checkpoint that it was sound at.
SOUND, LAST_SOUND = 'sound', 'last_sound_checkpoint'
SPARED = 'spared_checkpoint'


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Leave out of a log what MMEngine says to itself.

    It warns of its own file client, which it makes for every checkpoint.
    """

    def keep(record: logging.LogRecord) -> bool:
        return 'will be deprecated' not in record.getMessage()

    logger = MMLogger.get_current_instance()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


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

    Where :class:`CollapseHook` watches, ``last_sound_checkpoint`` names the
    last checkpoint of a sound run, which stays, one more than
    ``max_keep_ckpts``, until the run is sound again.
    """

    is_local = False

    def before_train(self, runner) -> None:
        """Choose how files are written; remove what a crash has left."""
        with without_deprecations():
            super().before_train(runner)
        self.is_local = type(self.file_backend) is LocalBackend
        if not self.is_local:
            return
        self.backend_args = dict(backend='whole_file')
        self.file_backend = WholeFileBackend()
        if is_main_process():
            remove_partials(self.out_dir)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Raise if the state is that of another run."""
        if runner._resume:
            regroup(checkpoint, runner.optim_wrapper.optimizer.param_groups)
            check_state(runner, checkpoint)
            warn_of_rates(runner, checkpoint)

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
        hub = runner.message_hub
        hub.update_info('last_ckpt', self.last_ckpt)
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            if len(kept) > self.max_keep_ckpts:
                file = self.filename_tmpl.format(kept[0])
                if self._spare(runner, str(Path(self.out_dir, file))):
                    kept.pop(0)
            # with the outdated one: killed before it is removed, the run
            # removes it when it is resumed
            hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids.append(step)
        if hub.get_info(SOUND, False):
            self._forget_spared(runner)
            hub.update_info(LAST_SOUND, self.last_ckpt)
        with without_deprecations():
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
            pointers = {'last_checkpoint': self.last_ckpt}
            if hub.get_info(LAST_SOUND, None):
                pointers[LAST_SOUND] = hub.get_info(LAST_SOUND)
            for name, file in pointers.items():
                write_whole(Path(runner.work_dir, name), file.encode())
            self.file_backend.remove_outdated()

    def _spare(self, runner, outdated: str) -> bool:
        """Note a file that is to go; keep it if nothing sound is left then."""
        hub = runner.message_hub
        last_sound = outdated == hub.get_info(LAST_SOUND, None)
        if last_sound and not hub.get_info(SOUND):
            hub.update_info(SPARED, outdated)
            return True
        self.file_backend.remove(outdated)
        return False

    def _forget_spared(self, runner) -> None:
        spared = runner.message_hub.get_info(SPARED, None)
        if spared:
            self.file_backend.remove(spared)
            runner.message_hub.update_info(SPARED, '')

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save a new best checkpoint; the old one goes after it is whole."""
        super()._save_best_checkpoint(runner, metrics)
        if self.is_local and is_main_process():
            self.file_backend.remove_outdated()
