"""Loading a checkpoint runs none of its code, on whichever engine."""

import errno
import os
import pickle
import zipfile

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain import get_model

from must_mm.checkpoints.plain import (
    load_tensors,
    plain_data_only,
    save_tensors,
)
from tests.tiny import assert_same_tensors, build, launch, train, weights

pytestmark = pytest.mark.onedl


class MakesFolder:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class GetsAttribute:
    """Unpickling it reaches for an attribute of a class on the list."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'code_was_run'


@pytest.fixture
def hostile(tmp_path, marker, config):
    """A good checkpoint with a passenger."""
    model = build(config).model
    content = dict(
        state_dict=model.state_dict(), meta={}, extra=MakesFolder(marker)
    )
    path = tmp_path / 'hostile.pth'
    torch.save(content, path)
    return str(path)


def test_the_file_is_hostile(hostile, marker):
    """The test of the tests: unprotected loading does run the code."""
    torch.load(hostile, weights_only=False)
    assert marker.is_dir()


LOADERS = dict(
    load_tensors=load_tensors,
    CheckpointLoader=CheckpointLoader.load_checkpoint,
    engine=lambda path: load_checkpoint(torch.nn.Linear(1, 1), path),
    map_location=lambda path: CheckpointLoader.load_checkpoint(
        path, map_location='cpu'
    ),
)


@pytest.mark.parametrize('loader', LOADERS)
def test_loaders_refuse(loader, hostile, marker):
    with pytest.raises(ValueError, match='plain data.*could run code'):
        LOADERS[loader](hostile)
    assert not marker.exists()


@pytest.mark.parametrize('loader', ['load_tensors', 'CheckpointLoader'])
def test_old_pickle_format_is_refused_too(loader, tmp_path, marker):
    torch.save(
        dict(x=MakesFolder(marker)),
        tmp_path / 'old.pth',
        _use_new_zipfile_serialization=False,
    )
    (tmp_path / 'bare.pth').write_bytes(pickle.dumps(MakesFolder(marker)))
    for name in ('old.pth', 'bare.pth'):
        with pytest.raises(ValueError, match=name):
            LOADERS[loader](str(tmp_path / name))
    assert not marker.exists()


@pytest.mark.parametrize('loader', ['load_tensors', 'CheckpointLoader'])
def test_getattr_opens_no_door(tmp_path, loader):
    """MMEngine's own checkpoints need it, for a few names only."""
    torch.save(dict(x=GetsAttribute()), tmp_path / 'getattr.pth')
    with pytest.raises(ValueError, match='getattr'):
        LOADERS[loader](str(tmp_path / 'getattr.pth'))


def test_loading_leaves_the_list_as_it_was(config):
    """An engine may bring its own list, and take it away again."""
    config.train_cfg.max_epochs = 1
    train(config)
    path = f'{config.work_dir}/epoch_1.pth'
    allowed = set(torch.serialization.get_safe_globals())
    for load in (CheckpointLoader.load_checkpoint, load_tensors) * 2:
        assert 'message_hub' in load(path)
    assert set(torch.serialization.get_safe_globals()) == allowed
    assert getattr not in allowed


@pytest.mark.parametrize('resume', [False, True])
def test_training_refuses(config, hostile, marker, resume):
    config.load_from, config.resume = hostile, resume
    with pytest.raises(ValueError, match='could run code'):
        train(config)
    assert not marker.exists()


def test_tools_test_refuses(config, hostile, marker, tmp_path):
    config.dump(tmp_path / 'tiny.py')
    runner = launch('test', tmp_path / 'tiny.py', hostile)
    with pytest.raises(ValueError, match='could run code'):
        runner.test()
    assert not marker.exists()


def test_get_model_refuses(config, hostile, marker):
    with pytest.raises(ValueError, match='could run code'):
        get_model(config, pretrained=hostile)
    assert not marker.exists()


@pytest.mark.parametrize('keep', [0.0, 0.5, 0.99])
def test_truncated_file_says_so(tmp_path, keep):
    path = tmp_path / 'cut.pth'
    save_tensors(dict(x=torch.randn(1000)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    for load in (load_tensors, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match='cut.pth.*damaged'):
            load(str(path))


def test_truncated_safetensors_says_so(tmp_path):
    path = tmp_path / 'cut.safetensors'
    path.write_bytes(b'\x00\x10\x00')
    with pytest.raises(ValueError, match='damaged'):
        load_tensors(path)


def test_missing_file_is_a_missing_file(tmp_path):
    for load in (load_tensors, CheckpointLoader.load_checkpoint):
        with pytest.raises(FileNotFoundError):
            load(str(tmp_path / 'none.pth'))


def test_what_the_engine_writes_can_be_loaded(config):
    """HistoryBuffer, NumPy scalars and optimizer states are on the list."""
    runner = train(config)
    checkpoint = load_tensors(f'{config.work_dir}/epoch_3.pth')
    assert {'message_hub', 'optimizer', 'ema_teacher'} <= set(checkpoint)
    assert_same_tensors(dict(checkpoint['state_dict']), weights(runner))
    hub = checkpoint['message_hub']['log_scalars']
    loss = hub['train/loss']
    assert isinstance(loss, HistoryBuffer)
    assert loss.mean() == pytest.approx(loss.data[0].mean())


def test_environment_is_left_as_found(monkeypatch, tmp_path):
    key = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
    monkeypatch.delenv(key, raising=False)
    with plain_data_only('x'):
        assert os.environ[key] == '1'
    assert key not in os.environ
    monkeypatch.setenv(key, '0')
    with pytest.raises(ValueError, match='x could not be read'):
        with plain_data_only('x'):
            raise RuntimeError('broken')
    assert os.environ[key] == '0'


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'x.pth'
    save_tensors(dict(x=torch.ones(2)), path)

    def fail(_handle):
        raise OSError(errno.ENOSPC, 'disk full')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='x.pth could not be written'):
        save_tensors(dict(x=torch.zeros(2)), path)
    monkeypatch.undo()
    assert torch.equal(load_tensors(path)['x'], torch.ones(2))
    assert os.listdir(path.parent) == ['x.pth']


def test_flipped_bit_of_a_weight_is_seen(tmp_path):
    """PyTorch would load the file, with another weight."""
    path = tmp_path / 'x.pth'
    save_tensors(dict(x=torch.ones(1000)), path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.ones(10).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)['x'], torch.ones(1000))
    with pytest.raises(ValueError, match='x.pth.*damaged.*checksum of'):
        load_tensors(path)


def test_archive_that_would_grow_is_not_unpacked(tmp_path):
    """A megabyte of zeros, compressed to a thousand bytes."""
    path = tmp_path / 'bomb.pth'
    save_tensors(dict(x=torch.zeros(250_000)), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match='bomb.pth.*would take 1,00'):
        load_tensors(path)


@pytest.mark.parametrize(
    'content, reason',
    [
        (torch.ones(2), 'Tensor'),
        ([1], 'list'),
        (dict(state_dict=[]), 'no state dict'),
        (dict(state_dict={1: torch.ones(1)}), 'no state dict'),
        (dict(state_dict=dict(w='text')), 'state_dict.w is no tensor'),
    ],
)
def test_no_checkpoint_though_plain_data(tmp_path, content, reason):
    torch.save(content, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=f'odd.pth.*{reason}'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'odd.pth'))


def test_config_in_a_checkpoint_is_not_run(tmp_path, marker, config):
    """MMEngine runs ``meta.config``, a text of Python, when it resumes."""
    config.train_cfg.max_epochs = 1
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    train(config)
    path = f'{config.work_dir}/epoch_1.pth'
    content = load_tensors(path)
    content['meta']['config'] = f'import os; os.mkdir({str(marker)!r})'
    torch.save(content, path)
    config.load_from, config.resume = path, True
    assert train(config).epoch == 1  # the last one: nothing is left to do
    assert not marker.exists()
