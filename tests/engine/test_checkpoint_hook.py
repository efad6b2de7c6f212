"""Checkpoints of a run outlive full disks and kills."""

import errno
import os
from pathlib import Path

import pytest
from mmengine.hooks import Hook

from must_mm.checkpoints.plain import load_tensors
from must_mm.engine import checkpoint_hook
from tests.tiny import assert_same_tensors, build, tiny_config, train, weights

pytestmark = pytest.mark.onedl


@pytest.fixture
def config(config):
    """Without validation, but where it is tested."""
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    return unwatched(config)


def unwatched(config):
    """Without a pointer to the last sound checkpoint."""
    config.custom_hooks = [
        hook for hook in config.custom_hooks if hook.type != 'CollapseHook'
    ]
    return config


def written(folder) -> list[str]:
    """Checkpoints and partial files in the folder of a run."""
    return sorted(
        name
        for name in os.listdir(folder)
        if name.endswith(('.pth', '.partial'))
    )


def pointed(folder) -> str:
    return Path(folder, 'last_checkpoint').read_text()


class FullDisk:
    """Stands in for ``write_whole``: from some write on nothing fits."""

    def __init__(self, room):
        self.room = room

    def __call__(self, path, data):
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, f'{path} could not be written')
        write_whole(path, data)


write_whole = checkpoint_hook.write_whole


def test_last_ones_are_kept(config):
    runner = train(config)
    folder = config.work_dir
    assert written(folder) == ['epoch_2.pth', 'epoch_3.pth']
    assert pointed(folder) == f'{folder}/epoch_3.pth'
    saved = load_tensors(pointed(folder))
    assert_same_tensors(dict(saved['state_dict']), weights(runner))


@pytest.mark.parametrize(
    'room, left, last',
    [(2, ['epoch_1.pth'], 1), (3, ['epoch_1.pth', 'epoch_2.pth'], 1)],
)
def test_full_disk_leaves_the_previous_one(
    config, monkeypatch, room, left, last
):
    """Even where one is kept: at a checkpoint, and at the pointer."""
    config.default_hooks.checkpoint.max_keep_ckpts = 1
    monkeypatch.setattr(checkpoint_hook, 'write_whole', FullDisk(room))
    with pytest.raises(OSError, match='could not be written'):
        train(config)
    assert written(config.work_dir) == left
    assert pointed(config.work_dir).endswith(f'epoch_{last}.pth')
    for name in left:
        load_tensors(Path(config.work_dir, name))


def test_old_best_one_stays_until_the_new_is_whole(
    images, tmp_path, monkeypatch
):
    config = unwatched(tiny_config(images, tmp_path / 'run'))

    class Better(Hook):
        """Makes every validation better than the one before."""

        def after_val_epoch(self, runner, metrics=None):
            metrics['up'] = runner.epoch

    config.default_hooks.checkpoint.update(save_best='up', rule='greater')
    runner = build(config, Better())
    # writes: epoch 1, pointer, best, epoch 1, pointer, epoch 2, pointer, best
    monkeypatch.setattr(checkpoint_hook, 'write_whole', FullDisk(8))
    with pytest.raises(OSError, match='best_up_epoch_2'):
        runner.train()
    best = [n for n in written(config.work_dir) if n.startswith('best')]
    assert len(best) == 1


def test_run_cleans_up_after_a_killed_one(config):
    """A partial file; an outdated one that was still to be removed."""
    train(config)
    folder = Path(config.work_dir)
    (folder / '.epoch_4.pth.123.partial').write_bytes(b'half')
    (folder / 'epoch_1.pth').write_bytes(b'')  # as before its removal
    config.load_from, config.resume = f'{folder}/epoch_3.pth', True
    config.train_cfg.max_epochs = 4
    train(config)
    assert written(folder) == ['epoch_3.pth', 'epoch_4.pth']


def test_validation_alone(images, tmp_path):
    """No checkpoint hook has to be ready for it."""
    assert build(tiny_config(images, tmp_path / 'run')).val()


def test_other_storage_is_left_to_the_engine(config, monkeypatch):
    """As ``s3://`` would be: its backend is none of local files."""

    class NotLocal(checkpoint_hook.LocalBackend):
        pass

    monkeypatch.setattr(checkpoint_hook, 'LocalBackend', NotLocal)
    monkeypatch.setattr(checkpoint_hook, 'write_whole', FullDisk(0))
    config.train_cfg.max_epochs = 1
    train(config)
    assert written(config.work_dir) == ['epoch_1.pth']


def test_no_line_of_mmengine_to_itself(config, logged):
    train(config)
    said = [record.getMessage() for record in logged.records]
    assert any('Checkpoints will be saved' in line for line in said)
    assert [line for line in said if 'be deprecated' in line] == []
