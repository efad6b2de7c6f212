"""Photos, and what adapting a random CLIP to them leaves."""

import functools
import shutil

import pytest

from must_mm.adapt import adapt
from must_mm.adapt.cost import measure
from tests.tiny import CLASSES, write_images


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """24 images in four folders, a truncated one, and a text."""
    folder = write_images(tmp_path_factory.mktemp('photos')) / 'images'
    whole = (folder / 'ant' / '0.png').read_bytes()
    (folder / 'cut.png').write_bytes(whole[: len(whole) // 2])
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture(scope='package')
def in_short():
    """Leave out what takes long and changes nothing.

    Loader processes, the larger step that is timed, and the layout of the
    config that MMEngine writes into logs and checkpoints.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mmengine.config.config.FormatCode', lambda text, **_: (text, True)
        )
        patch.setattr(
            'must_mm.adapt.plan.measure',
            functools.partial(measure, seconds=0.01),
        )
        patch.setattr('must_mm.adapt.plan.workers', lambda *_: 0)
        # the same precision on every machine
        patch.setattr('must_mm.adapt.cost.cpu_has_bfloat16', lambda: False)
        patch.setattr('must_mm.adapt.settings.workers', lambda *_: 0)
        yield


@pytest.fixture(scope='package')
def options(clip, photos, in_short):
    """Three epochs of one step; the images lie in folders of classes."""
    return dict(
        images=str(photos), classes=list(CLASSES), epochs=3, runs=1, **clip
    )


@pytest.fixture(scope='session')
def labelled(photos, tmp_path_factory):
    """The images of two classes, as a labelled folder."""
    folder = tmp_path_factory.mktemp('labelled')
    for name in CLASSES[:2]:
        shutil.copytree(photos / name, folder / name.upper())
    return folder


@pytest.fixture(scope='package')
def adapted(options, labelled, tmp_path_factory):
    """The folder of a whole run, and its result."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp('cache')
        patch.setenv('MUST_MM_CACHE', str(cache))
        out = tmp_path_factory.mktemp('adapted') / 'out'
        return out, adapt(**options, out=str(out), eval=str(labelled))
