"""Shared fixtures; the toy runs themselves are in ``tiny.py``."""

import gc
import logging
import os
import subprocess
import sys

import pytest
import torch
from filelock import FileLock
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from tests.browser import browser  # noqa: F401
from tests.tiny import ROOT, tiny_config, write_images

CLIP = """{
  "embed_dim": 16,
  "quick_gelu": true,
  "vision_cfg": {
    "image_size": 32, "patch_size": 8, "width": 32, "layers": 2,
    "head_width": 16
  },
  "text_cfg": {
    "context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1,
    "layers": 1
  }
}
"""

torch.set_num_threads(1)
init_default_scope('mmpretrain')  # as every run of a config does


def pytest_collection_finish() -> None:
    """MMEngine searches all objects for garbage with every data set.

    Modules are a million of them; without these a toy run takes half as long.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list) -> None:
    """Files with slow tests first: no process is left alone with one."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """Keep the cache of zero-shot classifiers out of the user's home."""
    monkeypatch.setenv('MUST_MM_CACHE', str(tmp_path / 'cache'))


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A folder with 24 generated images of four classes."""
    return write_images(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='session')
def clip(tmp_path_factory):
    """Options that name a random CLIP, in local files."""
    import open_clip  # which takes seconds, and few tests need

    folder = tmp_path_factory.mktemp('clip')
    config = folder / 'toy_clip.json'
    config.write_text(CLIP)
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    network = open_clip.create_model('toy_clip')
    torch.save(network.state_dict(), folder / 'toy_clip.pt')
    return dict(
        model=str(config),
        pretrained=str(folder / 'toy_clip.pt'),
        templates=['a {}.'],
    )


@pytest.fixture
def config(images, tmp_path):
    """A toy config, three epochs of three iterations."""
    return tiny_config(images, tmp_path / 'run')


@pytest.fixture(autouse=True)
def plain_logs(monkeypatch):
    """MMEngine formats the config for its log; that takes most of the time."""
    for module in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):
        monkeypatch.setattr(
            f'{module}.FormatCode',
            lambda text, **_: (text, True),
            raising=False,
        )


@pytest.fixture
def logged(caplog, monkeypatch):
    """MMEngine's loggers do not reach pytest's."""

    class Shown(logging.Handler):
        ended = False  # loggers live on, and are used again

        def emit(self, record):
            if not Shown.ended:
                caplog.handler.emit(record)

    original = MMLogger.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.addHandler(Shown())

    monkeypatch.setattr(MMLogger, '__init__', init)
    yield caplog
    Shown.ended = True


@pytest.fixture(scope='session')
def subprocess_env():
    """Environment in which a tool finds the package, on few threads."""
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
        OMP_NUM_THREADS='1',
    )


@pytest.fixture(scope='session')
def short_quickstart(tmp_path_factory, worker_id, subprocess_env):
    """Folder that the quickstart leaves, all stages but few steps.

    Made once for all processes of the suite. Tests read it and leave it as
    it is.
    """
    base = tmp_path_factory.getbasetemp()
    if worker_id != 'master':  # the processes have folders side by side
        base = base.parent
    root = base / 'short_quickstart'
    with FileLock(f'{root}.lock'):
        if not (root / 'summary.json').is_file():
            subprocess.run(
                [
                    sys.executable,
                    str(ROOT / 'tools' / 'quickstart.py'),
                    f'--work-dir={root}',
                    '--renderings=2048',
                    '--start-epochs=1',
                    '--epochs=1',
                ],
                env=subprocess_env,
                check=True,
            )
    return root
