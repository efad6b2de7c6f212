"""Images are found at any depth, and the unreadable ones set aside."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from must_mm.adapt import images as module
from must_mm.adapt.images import (
    dark_images,
    find_images,
    folders_of,
    search,
    split_readable,
)


def write(path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4)).save(path, 'png')
    return path


def test_found_at_any_depth_by_suffix(tmp_path):
    for name in ('a.png', 'b/c/D.JPG', 'b/e.webp', 'out/f.png'):
        write(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'raw.CR2').write_text('no image')
    found = search(tmp_path, tmp_path / 'out')
    assert found.names == ['a.png', 'b/c/D.JPG', 'b/e.webp']
    assert found.others == {'.txt': 1, '.cr2': 1}
    assert 'out/f.png' in find_images(tmp_path)


CLUTTER = (
    '.hidden.png',
    '._a.png',
    '.ipynb_checkpoints/a.png',
    '__MACOSX/b/._a.png',
    'b/@eaDir/a.png/SYNOPHOTO_THUMB.jpg',
    '.git/x.png',
    '$RECYCLE.BIN/x.png',
    'b/.thumbnails/x.png',
    '#recycle/x.png',
)


def test_hidden_and_system_files_are_no_images(tmp_path):
    for name in ('a.png', 'b/a.png', *CLUTTER):
        write(tmp_path / name)
    assert find_images(tmp_path) == ['a.png', 'b/a.png']
    # a hidden folder that is given is meant
    assert find_images(tmp_path / '.git') == ['x.png']


def test_links_to_folders_are_followed_once(tmp_path):
    write(tmp_path / 'disk' / 'one' / '1.png')
    write(tmp_path / 'disk' / 'two' / 'deep' / '2.png')
    here = tmp_path / 'here'
    write(here / 'own' / '0.png')
    for name in ('one', 'two'):
        (here / name).symlink_to(tmp_path / 'disk' / name)
    expected = ['one/1.png', 'own/0.png', 'two/deep/2.png']
    assert find_images(here) == expected
    # back to the start, to a folder that has its own name here, to itself,
    # and to nothing
    (here / 'own' / 'again').symlink_to(here)
    (here / 'a_link').symlink_to(here / 'own')
    (here / 'itself').symlink_to(here / 'itself')
    (here / 'nothing').symlink_to(tmp_path / 'gone')
    (tmp_path / 'disk' / 'two' / 'back').symlink_to(tmp_path / 'disk')
    assert find_images(here) == expected


def test_links_across_do_not_multiply(tmp_path):
    """Ten folders, each with links to all: paths without end."""
    for i in range(10):
        write(tmp_path / str(i) / 'x.png')
    for i in range(10):
        for j in range(10):
            (tmp_path / str(i) / f'to_{j}').symlink_to(tmp_path / str(j))
    assert len(find_images(tmp_path)) == 10


def test_closed_folders_are_named(tmp_path, monkeypatch):
    write(tmp_path / 'a' / 'x.png')
    write(tmp_path / 'closed' / 'x.png')
    scan = os.scandir

    def refuse(path):
        if Path(path).name == 'closed':
            raise PermissionError(13, 'Permission denied')
        return scan(path)

    monkeypatch.setattr(module.os, 'scandir', refuse)
    found = search(tmp_path)
    assert found.names == ['a/x.png']
    assert found.closed == {'closed': 'Permission denied'}


def test_one_folder_around_all_is_entered(tmp_path):
    for name in ('zip/photos/a/x.png', 'zip/photos/b/x.png', '.git/x.png'):
        write(tmp_path / name)
    (tmp_path / '__MACOSX' / 'zip').mkdir(parents=True)
    around, folders = folders_of(tmp_path)
    assert around == tmp_path / 'zip' / 'photos'
    assert [path.name for path in folders] == ['a', 'b']
    # one class is one class
    write(tmp_path / 'one' / 'cat' / 'x.png')
    assert folders_of(tmp_path / 'one')[1] == [tmp_path / 'one' / 'cat']
    # and a link back ends
    (tmp_path / 'loop').mkdir()
    (tmp_path / 'loop' / 'again').symlink_to(tmp_path / 'loop')
    assert folders_of(tmp_path / 'loop')[0] == tmp_path / 'loop'


def test_unreadable_images_are_set_aside(tmp_path):
    for name in ('good.png', 'two words.png', 'no\nlist.png', ' x.png'):
        write(tmp_path / name)
    (tmp_path / 'bad.png').write_bytes(b'')
    (tmp_path / 'phone.heic').write_bytes(b'whatever')
    (tmp_path / 'annex.png').symlink_to('.git/annex/x.png')
    os.mkfifo(tmp_path / 'pipe.png')
    seen = []
    found = split_readable(
        tmp_path, find_images(tmp_path), threads=2, progress=seen.append
    )
    assert found.names == ['good.png', 'two words.png']
    skipped = found.skipped
    assert skipped['bad.png'] == 'the file is empty'
    assert skipped['phone.heic'] == 'no known image format'
    assert 'leads to .git/annex/x.png' in skipped['annex.png']
    assert 'no regular file' in skipped['pipe.png']
    assert 'rename' in skipped['no\nlist.png']
    assert 'rename' in skipped[' x.png']
    assert seen == list(range(1, 9))


def test_a_name_that_is_no_text_is_set_aside(tmp_path):
    """Bytes that are not UTF-8, as old archives bring them."""
    name = b'caf\xe9.png'.decode('utf-8', 'surrogateescape')
    write(tmp_path / name)
    found = split_readable(tmp_path, find_images(tmp_path))
    assert found.names == []
    (shown,) = found.skipped
    shown.encode()  # can be printed


def test_twelve_bits_in_sixteen_are_noticed(tmp_path):
    values = np.arange(16, dtype=np.uint16).reshape(4, 4)
    Image.fromarray(values * 4096).save(tmp_path / 'full.png')
    assert dark_images(split_readable(tmp_path, ['full.png']).largest) is None
    Image.fromarray(values * 256).save(tmp_path / 'xray.png')
    names = ['full.png', 'xray.png']
    said = dark_images(split_readable(tmp_path, names).largest)
    assert said.startswith('1 of 2 images of 16 bits use 12 of them')
    assert 'xray.png' in said and '3840' in said


def test_images_that_mmpretrain_sees_otherwise(tmp_path):
    write(tmp_path / 'a.png')
    Image.new('RGBA', (4, 4)).save(tmp_path / 'clear.png')
    found = split_readable(tmp_path, ['a.png', 'clear.png'])
    assert found.unlike == ['clear.png']
