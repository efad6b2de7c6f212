"""Class names, templates, priors and labelled folders, good and bad."""

import pytest
from PIL import Image

from must_mm.adapt.names import (
    class_names,
    class_prior,
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
    assert class_names('@folders', images) == sorted(PETS)
    assert len(class_names('must_mm::pets', tmp_path)) == 37


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('', 'empty'),
        (' , ,', 'empty'),
        ('cat', 'nothing to learn.*other classes'),
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
