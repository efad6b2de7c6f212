"""Name, count and limit the images that a data set skips."""

import json
from pathlib import Path

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..checkpoints.resume import saved_values
from ..datasets.skip_bad_images import MARK, TooManyBadImages, too_many
from ..datasets.wrapping import parts_of


def allowed(dataset) -> int:
    """How many images of a data set, wrapped or not, may be unreadable.

    Those of all parts together, where it has several.
    """
    if hasattr(dataset, 'max_bad_images'):
        return dataset.max_bad_images
    return sum(allowed(part) for part in parts_of(dataset))


@HOOKS.register_module()
class BadImageHook(Hook):
    """Names, counts and limits the images that :class:`SkipBadImages` skips.

    Every file is named once, with the reason, in the log and in
    ``bad_images.json`` in the work dir; a file counts once, however often it
    is met, and a resumed run goes on counting. With several processes each
    counts what it meets; they exchange their lists at the end of each epoch.

    Attributes:
        bad: The reason for each file.
    """

    # before anything is saved
    priority = 'HIGH'
    FILE = 'bad_images.json'

    def __init__(self) -> None:
        self.bad = {}

    def before_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Read the marks of the batch.

        Raises:
            TooManyBadImages: If there are more than ``max_bad_images``.
        """
        for sample in (data_batch or {}).get('data_samples') or []:
            self._add(runner, sample.get(MARK, {}))

    def after_train_epoch(self, runner) -> None:
        """Exchange the lists of all processes.

        Raises:
            TooManyBadImages: If there are more than ``max_bad_images``.
        """
        for bad in all_gather_object(self.bad):
            self._add(runner, bad)

    def _add(self, runner, found: dict[str, str]) -> None:
        new = {
            path: why for path, why in found.items() if path not in self.bad
        }
        if not new:
            return
        self.bad.update(new)
        runner.message_hub.update_info('unreadable_images', len(self.bad))
        limit = allowed(runner.train_dataloader.dataset)
        for path, why in new.items():
            runner.logger.warning(f'skipped {path}: {why}')
        runner.logger.warning(
            f'{len(self.bad)} unreadable images so far, max_bad_images is '
            f'{limit}'
        )
        if is_main_process():
            file = Path(runner.work_dir, self.FILE)
            file.write_text(json.dumps(self.bad, indent=2) + '\n')
        if len(self.bad) > limit:
            raise TooManyBadImages(too_many(self.bad, limit))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the list."""
        checkpoint[MARK] = dict(self.bad)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on with the list of the run that is resumed."""
        if runner._resume:
            self.bad = dict(saved_values(runner, checkpoint, MARK, str))
