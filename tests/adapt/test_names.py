"""Class names, templates, priors and labelled folders, good and bad."""

import unicodedata

import pytest
from PIL import Image

from must_mm.adapt.names import (
    class_names,
    class_prior,
    ids_among,
    labelled_images,
    prompt_templates,
)
from must_mm.datasets.names import templates

PETS = ['red panda', 'raccoon']


def folders(root, *names):
    for name in names:
        (root / name).mkdir()
        Image.new('RGB', (4, 4)).save(root / name / '1.png')
    return root


def test_classes_from_text_list_file_folders_and_data_set(tmp_path):
    file = tmp_path / 'classes.txt'
    file.write_text('red panda\nraccoon\n')
    for given in ('red panda, raccoon', PETS, str(file)):
        assert class_names(given, tmp_path) == PETS
    images = tmp_path / 'images'
    images.mkdir()
    folders(images, 'red_panda', 'raccoon')
    (images / 'empty').mkdir()
    for given in ('@folders', '@Folders'):
        assert class_names(given, images) == sorted(PETS)
    assert len(class_names('must_mm::pets', tmp_path)) == 37


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('', 'empty'),
        (' , ,', 'empty'),
        ('cat', 'nothing to learn.*other classes'),
        ('ant; bee; cat', 'separate names by commas, no file of this name'),
        ('cat, dog, cat', "'cat' and 'cat'"),
        ('red panda, Red_Panda', "'red panda' and 'Red_Panda'"),
        ('@folders', 'no folders of images'),
        ('nowhere.txt', 'no file'),
    ],
)
def test_bad_classes(tmp_path, given, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e:
        class_names(given, tmp_path)
    assert '--classes' in str(e.value)


def test_templates(tmp_path):
    file = tmp_path / 't.txt'
    file.write_text('a {}.\n{}\n')
    assert (
        prompt_templates('a {}.') == prompt_templates(['a {}.']) == ['a {}.']
    )
    assert prompt_templates(['a {}.', '{}']) == ['a {}.', '{}']
    assert prompt_templates([str(file)]) == ['a {}.', '{}']
    assert prompt_templates('pets') == templates('pets')
    assert all('{}' in template for template in prompt_templates(None))


@pytest.mark.parametrize(
    'given', ['a photo', 'a {} and a {}', 'imagenett', ['a {}', 'no name']]
)
def test_bad_templates(given):
    with pytest.raises(ValueError, match='--templates'):
        prompt_templates(given)


def test_prior_in_every_form(tmp_path):
    file = tmp_path / 'prior.txt'
    file.write_text('raccoon=1\nRed_Panda = 3\n')
    for given in (
        'red panda=3, raccoon=1',
        'raccoon=0.25,red-panda=0.75',
        str(file),
        {'red panda': 30, 'raccoon': 10},
    ):
        assert class_prior(given, PETS) == [0.75, 0.25]
    assert class_prior('uniform', PETS) is class_prior(None, PETS) is None


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('red panda=1', 'without: raccoon'),
        ('red panda=1,raccoon=1,cat=1', 'not a class: cat'),
        ('red panda=1,raccoon=0', 'positive'),
        ('red panda=1,raccoon=nan', 'positive'),
        ('red panda=1,raccoon', 'name=share'),
        ('red panda=x,raccoon=1', 'name=share'),
        ('balanced', 'no file'),
    ],
)
def test_bad_prior(given, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e:
        class_prior(given, PETS)
    assert '--class-prior' in str(e.value)


def test_labelled_folders_match_whatever_case_and_space(tmp_path):
    folders(tmp_path, 'Raccoon', 'red_panda')
    assert labelled_images(tmp_path, PETS) == [
        ('Raccoon/1.png', 1),
        ('red_panda/1.png', 0),
    ]


def test_labelled_folders_that_do_not_match_are_listed(tmp_path):
    with pytest.raises(ValueError, match='no images'):
        labelled_images(tmp_path, PETS)
    folders(tmp_path, 'raccoon', 'panda', 'cat')
    message = 'no classes: cat, panda.*no folder: red panda'
    with pytest.raises(ValueError, match=message):
        labelled_images(tmp_path, PETS)


def apart(name: str) -> str:
    """As a Mac writes it."""
    return unicodedata.normalize('NFD', name)


def test_a_name_is_the_same_in_each_form_of_unicode(tmp_path):
    names = ['Müller', 'Café']
    folders(tmp_path, *map(apart, names))
    assert sorted(class_names('@folders', tmp_path)) == sorted(names)
    assert class_names(','.join(map(apart, names)), tmp_path) == names
    assert class_prior(f'{apart("Müller")}=1,café=3', names) == [0.25, 0.75]
    assert [label for _, label in labelled_images(tmp_path, names)] == [1, 0]
    with pytest.raises(ValueError, match='the same name'):
        class_names(f'café, {apart("Café")}', tmp_path)


@pytest.mark.parametrize('given', ['@folders', 'eval'])
def test_hidden_and_system_folders_are_no_classes(tmp_path, given):
    folders(tmp_path, 'cat', 'dog', '.ipynb_checkpoints', '__MACOSX', '@eaDir')
    (tmp_path / '.DS_Store').write_bytes(b'Bud1')
    if given == 'eval':
        images = labelled_images(tmp_path, ['cat', 'dog'])
        assert images == [('cat/1.png', 0), ('dog/1.png', 1)]
    else:
        assert class_names(given, tmp_path) == ['cat', 'dog']


def test_linked_class_folders(tmp_path):
    (tmp_path / 'disk').mkdir()
    folders(tmp_path / 'disk', 'cat', 'dog')
    here = tmp_path / 'here'
    here.mkdir()
    for name in ('cat', 'dog'):
        (here / name).symlink_to(tmp_path / 'disk' / name)
    (here / 'cat' / 'again').symlink_to(here)
    assert class_names('@folders', here) == ['cat', 'dog']
    images = labelled_images(here, ['cat', 'dog'])
    # the link back makes no dog a cat
    assert images == [('cat/1.png', 0), ('dog/1.png', 1)]


@pytest.mark.parametrize('parts', [('train', 'val'), ('Train', 'TEST')])
def test_parts_of_a_data_set_are_no_classes(tmp_path, parts):
    for part in parts:
        (tmp_path / part).mkdir()
        folders(tmp_path / part, 'cat', 'dog')
    for call in (
        lambda: class_names('@folders', tmp_path),
        lambda: labelled_images(tmp_path, ['cat', 'dog']),
    ):
        with pytest.raises(ValueError, match='parts of a data set') as error:
            call()
        assert str(tmp_path / sorted(parts)[0]) in str(error.value)
    # a class may have such a name
    other = tmp_path / parts[0]
    folders(other, 'train')
    assert class_names('@folders', other) == ['cat', 'dog', 'train']


def test_one_folder_around_the_classes(tmp_path):
    inner = tmp_path / 'photos-master'
    inner.mkdir()
    folders(inner, 'cat', 'dog')
    assert class_names('@folders', tmp_path) == ['cat', 'dog']
    assert labelled_images(tmp_path, ['cat', 'dog']) == [
        ('photos-master/cat/1.png', 0),
        ('photos-master/dog/1.png', 1),
    ]


def test_names_that_look_like_ids_are_pointed_out():
    for names in (
        ['0', '1', '2'],
        ['n01440764', 'n01443537'],
        ['class_1', 'class_2'],
        ['deadbeef01', 'c0ffee1234'],
    ):
        assert f'{len(names)} of {len(names)}' in ids_among(names)
    assert ids_among(['cat', 'boeing 747', 'route 66', 'decade']) is None


def test_lists_of_every_kind(tmp_path):
    """See tests/utils/test_lists.py for all of them."""
    for name, text in (
        ('a.csv', 'id,name\n0,red panda\n1,raccoon\n'),
        ('a.json', '{"0": "red panda", "1": "raccoon"}'),
        ('a.yaml', 'names: [red panda, raccoon]'),
    ):
        (tmp_path / name).write_text(text)
        assert class_names(str(tmp_path / name), tmp_path) == PETS
    (tmp_path / 'bad.txt').write_bytes('café\nMünster'.encode('latin-1'))
    for read in (
        lambda path: class_names(path, tmp_path),
        lambda path: class_prior(path, PETS),
    ):
        with pytest.raises(ValueError, match=r'--class.*bad\.txt is not UTF'):
            read(str(tmp_path / 'bad.txt'))
    with pytest.raises(FileNotFoundError, match='no file'):
        class_names('nowhere.csv', tmp_path)
    (tmp_path / 'prior.json').write_text('{"raccoon": 1, "red panda": 3}')
    assert class_prior(str(tmp_path / 'prior.json'), PETS) == [0.75, 0.25]
    (tmp_path / 't.json').write_text('["a {}.", "the {}, here"]')
    found = prompt_templates(str(tmp_path / 't.json'))
    assert found == ['a {}.', 'the {}, here']
