"""A file is the old one or the whole new one, whatever happens."""

import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from must_mm.checkpoints import whole_file
from must_mm.checkpoints.whole_file import remove_partials, write_whole


@pytest.fixture
def path(tmp_path):
    write_whole(tmp_path / 'folder' / 'x.pth', b'old')
    return tmp_path / 'folder' / 'x.pth'


def test_content_and_nothing_else(path):
    write_whole(path, b'new')
    assert path.read_bytes() == b'new'
    assert os.listdir(path.parent) == ['x.pth']


@contextmanager
def small_disk():
    """Files beyond 1,000 bytes fail as on a full disk, with a real error.

    All files of the process do, the tests' own output among them.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_no_room(path):
    with (
        pytest.raises(
            OSError,
            match=r'x\.pth could not be written.*5,000 bytes.*free.*room',
        ) as caught,
        small_disk(),
    ):
        write_whole(path, bytes(5000))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['x.pth']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_failure_at_any_step(path, monkeypatch, step):
    """``ENOSPC`` may come late: with the sync, or with the rename."""

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_file.os, step, full)
    with pytest.raises(OSError, match='No space left on device'):
        write_whole(path, b'new')
    monkeypatch.undo()
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['x.pth']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_killed_before_the_rename(path, step):
    """The bytes are under another name, which the next run removes."""
    script = (
        'import os, signal, sys\n'
        f'sys.path.insert(0, {str(Path(whole_file.__file__).parent)!r})\n'
        'import whole_file\n'
        f'whole_file.os.{step} = lambda *a: os.kill(0, signal.SIGKILL)\n'
        'whole_file.write_whole(sys.argv[1], b"new")\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script, str(path)], start_new_session=True
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    assert len(os.listdir(path.parent)) == 2
    remove_partials(path.parent)
    assert os.listdir(path.parent) == ['x.pth']


def test_order_is_write_sync_rename_sync(path, monkeypatch):
    """A rename that is on the disk before the bytes would lose them."""
    order = []
    for name in ('fsync', 'replace'):
        original = getattr(os, name)

        def record(*args, name=name, original=original):
            order.append(name)
            return original(*args)

        monkeypatch.setattr(whole_file.os, name, record)
    write_whole(path, b'new')
    assert order == ['fsync', 'replace', 'fsync']


def test_ctrl_c_leaves_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / 'x.bin'
    write_whole(path, b'before')

    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b'after')
    assert path.read_bytes() == b'before'
    assert [p.name for p in tmp_path.iterdir()] == ['x.bin']


def test_systems_that_open_no_folders(tmp_path, monkeypatch):
    """Windows refuses to open one."""
    opened = os.open

    def refuse(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(13, 'Permission denied')
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, 'open', refuse)
    write_whole(tmp_path / 'x.bin', b'content')
    assert (tmp_path / 'x.bin').read_bytes() == b'content'
