"""Labels as people give them: tables, folders, faults."""

import shutil
import unicodedata

import pytest

from must_mm.adapt.labels import (
    Known,
    is_filled_in,
    not_measured,
    read_labels,
    save,
    write_review,
)
from must_mm.adapt.result import ToReview
from tests.adapt.results import prediction

CLASSES = ['red panda', 'cat, small', 'dog']
NAMES = ['a/1.png', 'b, c.png', 'd.png', 'e.png']


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'photos'
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'image %d' % number)
    return root


def read(folder, text: str, encoding='utf-8') -> Known:
    path = folder.parent / 'review.csv'
    path.write_bytes(text.encode(encoding))
    return read_labels(path, folder, NAMES, CLASSES)


TABLE = (
    'path,label\r\na/1.png,Red_Panda\r\n"b, c.png","cat, small"\r\nd.png,-\r\n'
)


@pytest.mark.parametrize(
    'text, encoding',
    [
        (TABLE, 'utf-8'),
        (TABLE, 'utf-8-sig'),  # of a spreadsheet
        (TABLE, 'utf-16'),
        (TABLE.replace('\r', '') + 'e.png,\n', 'utf-8'),  # not known yet
        ('Path;Label\na/1.png;red panda\nb, c.png;cat, small\nd.png;-\n',
         'utf-8'),
        ('label\tnote\tpath\nred panda\tx\ta/1.png\n'
         'cat, small\t\tb, c.png\n-\t\td.png\n', 'utf-8'),
    ],
    ids=['ours', 'bom', 'utf-16', 'empty', 'semicolons', 'tabs'],
)  # fmt: skip
def test_tables(folder, text, encoding):
    known = read(folder, text, encoding)
    assert known == Known({'a/1.png': 0, 'b, c.png': 1}, {'d.png'})


@pytest.mark.parametrize(
    'text, said',
    [
        ('file,label\na/1.png,dog\n', 'no column path'),
        ('', 'no column path and label'),
        ('path,label\nx.png,dog\n', "line 2: 'x.png' is none of the images"),
        ('path,label\nd.png,\ne.png,cow\n', "line 3: 'cow' is no class"),
        ('path,label\nd.png,dog\nd.png,-\n', "line 3: 'd.png' has two"),
        ('path,label\nd.png,-\nd.png,dog\n', "line 3: 'd.png' has two"),
        ('path,label\nd.png,\n', 'nothing is labelled.*browser saved'),
        (f'path,label\nd.png,{"x" * 200_000}\n', 'no table.* path and label'),
    ],
)
def test_faults_name_the_line(folder, text, said):
    with pytest.raises(ValueError, match=said):
        read(folder, text)


def test_no_text_and_no_file(folder):
    """What is wrong is said as of the other lists."""
    text = 'path,label\nd.png,B\u00e4r\n'
    with pytest.raises(ValueError, match=r'not UTF-8 \(line 2.*save it as'):
        read(folder, text, 'cp1252')
    with pytest.raises(ValueError, match='document of Excel.*as CSV'):
        read(folder, 'PK\x03\x04')
    with pytest.raises(FileNotFoundError, match='--labels'):
        read_labels(folder / 'gone.csv', folder, NAMES, CLASSES)


def test_absolute_paths_of_images_of_the_folder(folder, tmp_path):
    """Also through a link to it; other files are other images."""
    (tmp_path / 'link').symlink_to(folder)
    new = tmp_path / 'new.png'
    new.write_bytes(b'another')
    known = read(
        folder,
        f'path,label\n{folder / "a/1.png"},dog\n'
        f'{tmp_path / "link" / "d.png"},-\n{new},dog\n',
    )
    assert known == Known({'a/1.png': 2, str(new): 2}, {'d.png'})


def test_paths_that_a_mac_wrote(folder):
    name = 'M\u00fcller.png'
    apart = unicodedata.normalize('NFD', name)
    path = folder.parent / 'review.csv'
    path.write_text(f'path,label\n{apart},dog\n', encoding='utf-8')
    assert read_labels(path, folder, [name], CLASSES).labels == {name: 2}


def test_said_twice_is_said_once(folder):
    known = read(folder, 'path,label\nd.png,dog\nd.png,dog\n')
    assert known.labels == {'d.png': 2}


def test_a_folder_for_each_class(folder, tmp_path):
    """Copies stand for the images that they are of; others come along."""
    given = tmp_path / 'given'
    (given / 'Dog').mkdir(parents=True)
    (given / 'red_panda').mkdir()
    shutil.copy(folder / 'd.png', given / 'Dog' / 'renamed.png')
    (given / 'red_panda' / 'new.png').write_bytes(b'another')
    known = read_labels(given, folder, NAMES, CLASSES)
    new = str(given / 'red_panda' / 'new.png')
    assert known == Known({'d.png': 2, new: 0})
    shutil.copy(folder / 'd.png', given / 'red_panda' / 'again.png')
    with pytest.raises(ValueError, match='two labels'):
        read_labels(given, folder, NAMES, CLASSES)


def test_what_is_saved_reads_the_same(folder, tmp_path):
    new = tmp_path / 'elsewhere.png'
    new.write_bytes(b'x')
    known = Known({'b, c.png': 1, str(new): 2}, {'d.png'})
    save(known, CLASSES, tmp_path / 'known.csv')
    found = read_labels(tmp_path / 'known.csv', folder, NAMES, CLASSES)
    assert found == known


def test_later_labels_prevail():
    before = Known({'a': 0, 'b': 1, 'c': 2}, {'d', 'e'})
    after = before.updated(Known({'a': 1, 'd': 2}, {'c'}))
    assert after == Known({'a': 1, 'b': 1, 'd': 2}, {'c', 'e'})
    assert not Known() and before


def test_review_is_a_form_to_fill_in(folder, tmp_path):
    images = [
        ToReview(prediction(0, 1, 0.5, name=name, runner_up=2), [1, 2])
        for name in NAMES
    ]
    path = tmp_path / 'review.csv'
    write_review(images, CLASSES, path)
    # Excel shows umlauts by the mark in front
    lines = path.read_bytes().decode('utf-8-sig').splitlines()
    assert path.read_bytes()[:3] == b'\xef\xbb\xbf'
    assert lines[0].startswith('path,label,class,confidence')
    assert not is_filled_in(path) and not is_filled_in(tmp_path / 'gone.csv')
    with pytest.raises(ValueError, match='nothing is labelled'):
        read_labels(path, folder, NAMES, CLASSES)
    lines[1] = lines[1].replace(',,', ',dog,', 1)
    path.write_text('\n'.join(lines))
    known = read_labels(path, folder, NAMES, CLASSES)
    assert known.labels == {'a/1.png': 2}
    assert is_filled_in(path)
    path.write_bytes(b'PK\x03\x04')  # a spreadsheet is not ours
    assert is_filled_in(path)


def test_labelled_images_are_not_measured(folder, tmp_path):
    measured = tmp_path / 'eval'
    (measured / 'dog').mkdir(parents=True)
    shutil.copy(folder / 'd.png', measured / 'dog' / 'copy.png')
    (measured / 'dog' / 'other.png').write_bytes(b'image 7')
    found = not_measured(
        Known({'d.png': 2}),
        folder,
        measured,
        ['dog/copy.png', 'dog/other.png'],
    )
    assert found == {'dog/copy.png'}
