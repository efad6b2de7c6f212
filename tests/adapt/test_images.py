"""Images are found at any depth, and the unreadable ones set aside."""

from PIL import Image

from must_mm.adapt.images import find_images, split_readable


def write(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4)).save(path, 'png')


def test_found_at_any_depth_by_suffix(tmp_path):
    for name in ('a.png', 'b/c/D.JPG', 'b/e.webp', 'out/f.png'):
        write(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no image')
    found = find_images(tmp_path, leave_out=tmp_path / 'out')
    assert found == ['a.png', 'b/c/D.JPG', 'b/e.webp']
    assert 'out/f.png' in find_images(tmp_path)


def test_unreadable_images_are_set_aside(tmp_path):
    for name in ('good.png', 'two words.png', 'no\nlist.png', ' x.png'):
        write(tmp_path / name)
    (tmp_path / 'bad.png').write_bytes(b'')
    (tmp_path / 'phone.heic').write_bytes(b'whatever')
    seen = []
    good, skipped = split_readable(
        tmp_path, find_images(tmp_path), threads=2, progress=seen.append
    )
    assert good == ['good.png', 'two words.png']
    assert skipped['bad.png'] == 'the file is empty'
    assert 'JPEG' in skipped['phone.heic']
    assert 'rename' in skipped['no\nlist.png']
    assert 'rename' in skipped[' x.png']
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_name_that_is_no_text_is_set_aside(tmp_path):
    """Bytes that are not UTF-8, as old archives bring them."""
    name = b'caf\xe9.png'.decode('utf-8', 'surrogateescape')
    write(tmp_path / name)
    good, skipped = split_readable(tmp_path, find_images(tmp_path))
    assert good == []
    (shown,) = skipped
    shown.encode()  # can be printed
