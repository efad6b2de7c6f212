"""The newest whole checkpoint is the one a run goes on from."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from must_mm.checkpoints import plain, resume
from must_mm.checkpoints.plain import load_tensors, save_tensors
from must_mm.checkpoints.resume import check_resumable, find_resumable
from tests.tiny import (
    assert_same_tensors,
    launch,
    tiny_config,
    train,
    weights,
)

pytestmark = pytest.mark.onedl


@pytest.fixture(scope='module')
def finished(images, tmp_path_factory):
    """Folder of a run with checkpoints of the epochs 1 to 3."""
    cfg = tiny_config(images, tmp_path_factory.mktemp('finished'))
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.max_keep_ckpts = 3
    train(cfg)
    return Path(cfg.work_dir)


@pytest.fixture
def run(finished, config):
    """A copy of it, at the work dir of ``config``."""
    folder = Path(config.work_dir)
    shutil.copytree(finished, folder)  # and the times of the files
    (folder / 'last_checkpoint').write_text(f'{folder}/epoch_3.pth')
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    return folder


def flip(path, at=0.5):
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def test_newest(run):
    assert find_resumable(run) == (f'{run}/epoch_3.pth', [])


def test_killed_before_the_pointer_is_updated(run):
    (run / 'last_checkpoint').write_text(f'{run}/epoch_2.pth')
    assert find_resumable(run) == (f'{run}/epoch_3.pth', [])


@pytest.mark.parametrize('content', [None, '', '/gone/epoch_9.pth'])
def test_no_use_of_the_pointer(run, content):
    (run / 'last_checkpoint').unlink()
    if content is not None:
        (run / 'last_checkpoint').write_text(content)
    found, skipped = find_resumable(run)
    assert found == f'{run}/epoch_3.pth'
    assert len(skipped) == bool(content)


DAMAGES = dict(
    empty=lambda path: path.write_bytes(b''),
    truncated=lambda path: os.truncate(path, path.stat().st_size // 2),
    flipped=flip,
)


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_one_is_skipped(run, damage):
    DAMAGES[damage](run / 'epoch_3.pth')
    found, (reason,) = find_resumable(run)
    assert found == f'{run}/epoch_2.pth'
    assert 'epoch_3.pth' in reason


def test_the_iteration_counts_not_the_time(run):
    """A copy writes the files in any order."""
    for age, name in enumerate(('epoch_3.pth', 'epoch_1.pth', 'epoch_2.pth')):
        os.utime(run / name, (1e9 + age, 1e9 + age))
    flip(run / 'epoch_3.pth')
    found, (reason,) = find_resumable(run)
    assert found == f'{run}/epoch_2.pth' and 'epoch_3.pth' in reason


def fail_now(monkeypatch, name: str, times: int) -> None:
    """Let a file be out of reach for some readings."""
    monkeypatch.setattr(resume, 'WAITS', (0, 0))
    left = [times]

    def reading(path):
        if path.name == name and left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, 'Stale file handle', str(path))
        return load_tensors(path)

    monkeypatch.setattr(resume, 'load_tensors', reading)


def test_file_out_of_reach_for_a_moment(run, monkeypatch):
    fail_now(monkeypatch, 'epoch_3.pth', times=2)
    assert find_resumable(run) == (f'{run}/epoch_3.pth', [])


def test_file_out_of_reach_is_not_damaged(run, monkeypatch):
    """To go on from an older one would lose an epoch."""
    fail_now(monkeypatch, 'epoch_3.pth', times=9)
    with pytest.raises(OSError, match='Stale.*epoch_3.pth'):
        find_resumable(run)


def test_each_file_is_read_once(config, run, tmp_path, monkeypatch):
    """To check it and to resume from it; the others not at all."""
    read = []
    check_sums = plain.check_sums

    def noted(file):
        read.append(Path(file.name).name)
        check_sums(file)

    monkeypatch.setattr(plain, 'check_sums', noted)
    config.train_cfg.max_epochs = 4
    config.default_hooks.checkpoint.max_keep_ckpts = 9
    config.dump(tmp_path / 'tiny.py')
    for which in ([], [run / 'epoch_2.pth']):
        read.clear()
        runner = launch('train', tmp_path / 'tiny.py', '--resume', *which)
        runner.train()
        assert runner.iter == 12
        assert read == ['epoch_2.pth' if which else 'epoch_3.pth']


def test_option_that_another_torch_knows(config, run):
    """One that the file lacks, and one that this torch lacks."""
    content = load_tensors(run / 'epoch_2.pth')
    for group in content['optimizer']['param_groups']:
        del group['capturable']
        group['of_another_version'] = True
    save_tensors(content, run / 'epoch_2.pth')
    config.resume, config.load_from = True, str(run / 'epoch_2.pth')
    runner = train(config)
    assert runner.iter == 9
    groups = runner.optim_wrapper.optimizer.param_groups
    assert not any(group['capturable'] for group in groups)


def test_groups_of_single_parameters_are_joined(config):
    """As earlier versions wrote them: the run ends where it would have."""
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.checkpoint.max_keep_ckpts = 3
    joined = config.optim_wrapper.constructor
    config.optim_wrapper.constructor = (
        'LearningRateDecayOptimWrapperConstructor'
    )
    single = train(config)
    config.optim_wrapper.constructor = joined
    config.resume = True
    config.load_from = f'{config.work_dir}/epoch_2.pth'
    resumed = train(config)
    assert resumed.iter == single.iter == 9
    counts = [
        len(run.optim_wrapper.optimizer.param_groups)
        for run in (resumed, single)
    ]
    assert counts[0] < counts[1]
    assert_same_tensors(weights(resumed), weights(single))


@pytest.mark.parametrize('factor', [1, 2])
def test_other_rates_than_those_of_the_config_are_said(
    config, run, logged, factor
):
    config.optim_wrapper.optimizer.lr *= factor
    config.log_level = 'WARNING'
    config.resume, config.load_from = True, str(run / 'epoch_2.pth')
    runner = train(config)
    said = 'rates of its checkpoint, 0.5 times those that the config'
    assert (said in logged.text) == (factor == 2)
    rates = {g['initial_lr'] for g in runner.optim_wrapper.param_groups}
    assert max(rates) == pytest.approx(1e-3)


@pytest.mark.parametrize('key', ['lr', 'params', 'betas'])
def test_groups_of_another_optimizer(config, run, key):
    content = load_tensors(run / 'epoch_2.pth')
    groups = content['optimizer']['param_groups']
    if key == 'betas':
        groups[0][key] = 0.9
    else:
        del groups[0][key]
    save_tensors(content, run / 'epoch_2.pth')
    config.resume, config.load_from = True, str(run / 'epoch_2.pth')
    with pytest.raises(ValueError, match=r'optimizer\.param_groups'):
        train(config)


def test_half_written_one_is_no_candidate(run):
    (run / '.epoch_4.pth.77.partial').write_bytes(b'half')
    assert find_resumable(run) == (f'{run}/epoch_3.pth', [])


def test_what_is_no_checkpoint_of_a_run_is_skipped(run):
    """Published and best ones hold weights alone."""
    state = load_tensors(run / 'epoch_3.pth')['state_dict']
    save_tensors(dict(state_dict=state, meta={}), run / 'best.pth')
    found, (reason,) = find_resumable(run)
    assert found == f'{run}/epoch_3.pth'
    assert 'best.pth' in reason and 'optimizer' in reason


def test_none_is_whole(run):
    for path in run.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(ValueError, match=r'--resume: no checkpoint.*epoch_2'):
        find_resumable(run)


def test_none_yet(tmp_path):
    assert find_resumable(tmp_path / 'new') == (None, [])


def test_other_folder_and_other_storage(run, tmp_path):
    """The pointer leads to ``out_dir``, even on a remote storage."""
    (tmp_path / 'far').mkdir()
    for path in run.glob('*.pth'):
        path.rename(tmp_path / 'far' / path.name)
    pointer = run / 'last_checkpoint'
    pointer.write_text(f'{tmp_path}/far/epoch_3.pth')
    assert find_resumable(run)[0] == f'{tmp_path}/far/epoch_3.pth'
    pointer.write_text('s3://bucket/epoch_3.pth')
    assert find_resumable(run)[0] == 's3://bucket/epoch_3.pth'


def test_copied_folder_is_a_run_of_its_own(run, finished):
    """Its pointer still names the original, which may have gone on."""
    (run / 'last_checkpoint').write_text(f'{finished}/epoch_3.pth')
    assert find_resumable(run) == (f'{run}/epoch_3.pth', [])


@pytest.mark.parametrize('part', ['optimizer', 'meta', 'state_dict'])
def test_part_of_a_run_is_missing(run, part):
    content = load_tensors(run / 'epoch_3.pth')
    del content[part]
    save_tensors(content, run / 'epoch_3.pth')
    with pytest.raises(ValueError, match=f'epoch_3.pth.*lacks {part}.*load_'):
        check_resumable(run / 'epoch_3.pth')


def test_tool_goes_on_from_the_newest_whole_one(config, run, tmp_path, capfd):
    """And ends where the uninterrupted run did, bit for bit."""
    expected = load_tensors(run / 'epoch_3.pth')
    flip(run / 'epoch_3.pth')
    config.log_level = 'INFO'
    config.dump(tmp_path / 'tiny.py')
    runner = launch('train', tmp_path / 'tiny.py', '--resume')
    runner.train()
    found = load_tensors(run / 'epoch_3.pth')
    for part in ('state_dict', 'optimizer', 'ema_teacher'):
        assert_same_tensors(found[part], expected[part], part)
    out = ''.join(capfd.readouterr())
    assert '--resume skips' in out and 'epoch_2.pth' in out


@pytest.mark.parametrize('damage', DAMAGES)
def test_tool_refuses_a_damaged_file(config, run, tmp_path, damage):
    DAMAGES[damage](run / 'epoch_3.pth')
    config.dump(tmp_path / 'tiny.py')
    with pytest.raises(ValueError, match='epoch_3.pth.*damaged'):
        launch('train', tmp_path / 'tiny.py', '--resume', run / 'epoch_3.pth')


def test_run_without_a_checkpoint_keeps_its_start(config, tmp_path):
    """``load_from`` holds until there is a checkpoint to resume."""
    config.load_from = 'start.pth'
    config.dump(tmp_path / 'tiny.py')
    runner = launch('train', tmp_path / 'tiny.py', '--resume')
    assert (runner._resume, runner._load_from) == (False, 'start.pth')


@pytest.mark.parametrize(
    'damage',
    [
        lambda moments: moments.pop('step'),
        lambda moments: moments.update(exp_avg=torch.tensor(1)),
        lambda moments: moments.update(exp_avg=torch.tensor(1.0)),
        lambda moments: moments.update(exp_avg_sq=torch.zeros(2, 3, 5)),
        lambda moments: moments.update(step='text'),
        lambda moments: moments.update(other=None),
    ],
)
def test_damaged_moments_of_one_parameter(config, damage):
    """Found by fuzzing: they would fail at the next step, unnamed."""
    config.train_cfg.max_epochs = 1
    path = Path(train(config).work_dir) / 'epoch_1.pth'
    content = torch.load(path, weights_only=True)
    damage(content['optimizer']['state'][3])
    torch.save(content, path)
    config.resume, config.load_from = True, str(path)
    with pytest.raises(ValueError, match=r'epoch_1\.pth .*optimizer\.state'):
        train(config)
