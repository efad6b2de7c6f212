"""Class names, templates, the data sets of our own and their checks."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
from mmengine.config import Config
from mmpretrain.datasets import categories
from mmpretrain.registry import DATASETS
from PIL import Image
from torchvision.models import _meta

from must_mm.datasets import names, ucf101
from must_mm.datasets.caltech101 import make_split
from must_mm.datasets.prepare import LAYOUTS, check, main
from must_mm.utils.paths import config_path
from must_mm.weights.text import read_classes, read_templates
from tests.weights.layouts import write_layout

COUNTS = dict(
    caltech101=(102, 34),
    cifar10=(10, 18),
    cifar100=(100, 18),
    dtd=(47, 8),
    food101=(101, 1),
    gtsrb=(43, 3),
    imagenet=(1000, 80),
    pets=(37, 1),
    sun397=(397, 2),
    ucf101=(101, 48),
)
MMPRETRAIN = dict(
    caltech101=categories.CALTECH101_CATEGORIES,
    cifar10=categories.CIFAR10_CATEGORIES,
    cifar100=categories.CIFAR100_CATEGORIES,
    dtd=categories.DTD_CATEGORIES,
    food101=categories.FOOD101_CATEGORIES,
    pets=categories.OxfordIIITPet_CATEGORIES,
    sun397=categories.SUN397_CATEGORIES,
)
# Prompts that share no word with ImageNet's own name, each looked at.
RENAMED = set(
    """rooster newt peafowl duck Dobermann Bullmastiff Leonberger clownfish
    bottle_cap clogs coffeemaker infant_bed hoop_skirt carved_pumpkin jeans
    slip-on_shoe messenger_bag tights graduation_cap vespa baby_pacifier
    bullock_cart pajamas pan_flute payphone sneaker motorboat scarf sunglasses
    toy_store vaulted_or_arched_ceiling sink shipwreck sailboat baguette
    pot_pie mountain beach earth_star_fungus corn_cob""".split()
)


def words(text: str) -> set[str]:
    return set(re.findall('[a-z]+', text.lower()))


@pytest.fixture
def no_checksums(monkeypatch):
    """Generated files cannot have the sums of CIFAR's own."""
    cifar = DATASETS.get('CIFAR10')
    monkeypatch.setattr(cifar, '_check_integrity', lambda self: True)


# ------------------------------------------------------------------- names


def test_counts_of_classes_and_templates():
    found = {
        name: (len(names.class_names(name)), len(names.templates(name)))
        for name in names.NAMES
    }
    assert found == COUNTS


@pytest.mark.onedl
@pytest.mark.parametrize('name', MMPRETRAIN)
def test_table_is_that_of_the_data_set(name):
    """Complete and in the order of the labels, on either engine."""
    assert tuple(names.class_table(name)) == tuple(MMPRETRAIN[name])


@pytest.mark.parametrize('name', names.NAMES)
def test_table_is_one_to_one(name):
    """Two of ImageNet's names repeat, which is how they are used."""
    prompts = names.class_names(name)
    repeated = {prompt for prompt in prompts if prompts.count(prompt) > 1}
    allowed = {'missile', 'sunglasses'} if name == 'imagenet' else set()
    assert repeated == allowed


@pytest.mark.parametrize('name', sorted({*names.NAMES} - {'imagenet'}))
def test_names_mean_the_same_class(name):
    """Letters agree, up to the few that the prompts put another way."""
    other_words = {
        'caltech101': {
            'BACKGROUND_Google': 'background',
            'Faces': 'off-center face',
            'Faces_easy': 'centered face',
            'Leopards': 'leopard',
            'Motorbikes': 'motorbike',
            'airplanes': 'airplane',
            'car_side': 'side of a car',
            'cougar_body': 'body of a cougar cat',
            'cougar_face': 'face of a cougar cat',
            'crocodile_head': 'head of a  crocodile',
            'flamingo_head': 'head of a flamingo',
            'snoopy': 'snoopy (cartoon beagle)',
            'yin_yang': 'yin and yang symbol',
        }
    }.get(name, {})
    if name == 'gtsrb':  # numbered folders; some signs that cannot be missed
        table = names.class_table(name)
        assert list(table) == [f'{i:05d}' for i in range(43)]
        assert table['00014'] == 'stop'
        assert 'yield' in table['00013']
        assert '120' in table['00008']
        assert 'traffic circle' in table['00040']
        return
    for own, prompt in names.class_table(name).items():
        letters = [
            ''.join(re.findall('[a-z]', t.lower())) for t in (own, prompt)
        ]
        assert letters[0] == letters[1] or other_words[own] == prompt


@pytest.fixture(scope='module')
def lemmas():
    """``{WordNet id: its words}`` of ImageNet's classes, from timm."""
    info = Path(timm.__file__).parent / 'data' / '_info'
    synsets = (info / 'imagenet_synsets.txt').read_text().split()
    lines = (info / 'imagenet_synset_to_lemma.txt').read_text().splitlines()
    table = dict(line.split('\t') for line in lines)
    return {synset: table[synset] for synset in synsets}


def test_imagenet_is_keyed_by_wordnet_ids(lemmas):
    """In the order of the sorted folders, each meaning its synset."""
    table = names.class_table('imagenet')
    assert list(table) == list(lemmas) == sorted(lemmas)
    foreign = {
        prompt.replace(' ', '_')
        for own, prompt in table.items()
        if not words(prompt) & words(lemmas[own])
    }
    assert foreign == RENAMED


@pytest.mark.onedl
@pytest.mark.parametrize(
    'theirs',
    [categories.IMAGENET_CATEGORIES, _meta._IMAGENET_CATEGORIES],
    ids=['mmpretrain', 'torchvision'],
)
def test_imagenet_labels_are_those_of_other_lists(theirs, lemmas):
    """Their lists carry no ids: at each label, the words are the synset's."""
    for own, name in zip(names.class_table('imagenet'), theirs, strict=True):
        assert words(name) & words(lemmas[own]), (own, name)


def test_names_in_configs():
    assert len(read_classes('must_mm::sun397')) == 397
    assert read_templates('must_mm::food101') == [
        'a photo of {}, a type of food.'
    ]
    with pytest.raises(ValueError, match='repeats .*missile'):
        read_classes('must_mm::imagenet')
    with pytest.raises(ValueError, match="'mnist'; there are some for calt"):
        read_classes('must_mm::mnist')


def test_files_hold_nothing_else():
    for name in names.NAMES:
        file = Path(names.__file__).parent / 'prompts' / f'{name}.json'
        assert set(json.loads(file.read_text())) == {'classes', 'templates'}


# --------------------------------------------------------------- data sets


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
def test_cifar_is_as_if_read_from_files(name, tmp_path, no_checksums):
    """Channel by channel what OpenCV reads of the same image."""
    root = write_layout(name, tmp_path / name)
    dataset = DATASETS.build(
        dict(
            type=LAYOUTS[name].type,
            data_root=str(root),
            split='test',
            download=False,
        )
    )
    image = Image.open(tmp_path / f'{name}.jpg').resize((32, 32))
    image.save(tmp_path / 'x.png')
    np.testing.assert_array_equal(
        dataset[3]['img'], cv2.imread(str(tmp_path / 'x.png'))
    )
    assert dataset[3]['gt_label'] == 3


def test_gtsrb_splits(tmp_path):
    root = write_layout('gtsrb', tmp_path / 'gtsrb')
    for split in ('train', 'final_train', 'test'):
        dataset = DATASETS.build(
            dict(type='GTSRB', data_root=str(root), split=split)
        )
        labels = [dataset.get_data_info(i)['gt_label'] for i in range(43)]
        # the test file's labels run backwards, see layouts.py
        order = -1 if split == 'test' else 1
        assert labels == list(range(43))[::order]
    with pytest.raises(ValueError, match='GTSRB.split'):
        DATASETS.build(dict(type='GTSRB', data_root=str(root), split='val'))
    (root / 'GT-final_test.csv').unlink()
    with pytest.raises(FileNotFoundError, match='GT-final_test.csv'):
        DATASETS.build(dict(type='GTSRB', data_root=str(root), split='test'))


def test_ucf101_labels_follow_the_table_not_the_alphabet(tmp_path):
    root = write_layout('ucf101', tmp_path / 'ucf101')
    dataset = DATASETS.build(dict(type='UCF101Frames', data_root=str(root)))
    for i, name in enumerate(names.class_table('ucf101')):
        info = dataset.get_data_info(i)
        assert f'/{name}/' in info['img_path'] and info['gt_label'] == i
    folders = list(names.class_table('ucf101'))
    # where sorting by bytes would differ
    assert folders.index('Hammering') < folders.index('HammerThrow')
    with pytest.raises(FileNotFoundError, match='extract_middle_frames'):
        DATASETS.build(dict(type='UCF101Frames', data_root=str(tmp_path)))


@pytest.fixture
def videos(tmp_path):
    """Videos with 7 and 4 frames, frame i of grey value 30 * i."""
    lists = tmp_path / 'lists'
    lists.mkdir()
    for file, name, frames in (
        ('trainlist01.txt', 'HandstandPushups/v_HandStandPushups_g01', 7),
        ('testlist01.txt', 'YoYo/v_YoYo_g01', 4),
    ):
        number = ' 38' if file.startswith('train') else ''
        (lists / file).write_text(f'{name}.avi{number}\n')
        path = tmp_path / 'videos' / f'{name}.avi'
        path.parent.mkdir(parents=True)
        writer = cv2.VideoWriter(
            str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, (64, 48)
        )
        for i in range(frames):
            writer.write(np.full((48, 64, 3), 30 * i, np.uint8))
        writer.release()
    return tmp_path


def test_middle_frames(videos):
    done = dict(
        ucf101.extract_middle_frames(
            videos / 'videos', videos / 'lists', videos / 'out'
        )
    )
    assert done == dict(train=1, val=1)
    for path, frame in (
        ('train/HandstandPushups/v_HandStandPushups_g01.jpg', 3),
        ('val/YoYo/v_YoYo_g01.jpg', 2),
    ):
        image = cv2.imread(str(videos / 'out' / path))
        assert image.shape == (48, 64, 3)
        # compressed twice, 30 levels apart
        assert abs(image.mean() - 30 * frame) < 5


def test_middle_frames_say_what_is_missing(videos):
    def extract():
        return dict(
            ucf101.extract_middle_frames(
                videos / 'videos', videos / 'lists', videos / 'out'
            )
        )

    broken = videos / 'videos/YoYo/v_YoYo_g01.avi'
    broken.write_bytes(b'no video')
    with pytest.raises(ValueError, match='v_YoYo_g01.avi: no frame'):
        extract()
    broken.unlink()
    with pytest.raises(FileNotFoundError, match='v_YoYo_g01.avi is missing'):
        extract()
    (videos / 'lists/testlist01.txt').write_text('Yoyo/v.avi\n')
    with pytest.raises(ValueError, match='no class of UCF101'):
        extract()
    (videos / 'lists/testlist01.txt').unlink()
    with pytest.raises(FileNotFoundError, match='testlist01.txt is missing'):
        extract()


def test_caltech101_split_is_complete_and_repeatable(tmp_path):
    for name in names.class_table('caltech101'):
        folder = tmp_path / '101_ObjectCategories' / name
        folder.mkdir(parents=True)
        for i in range(33):
            (folder / f'image_{i:04d}.jpg').touch()
    counts = make_split(tmp_path)
    assert counts == dict(train=102 * 30, test=102 * 3)
    files = [tmp_path / 'meta' / f'{split}.txt' for split in counts]
    first = [file.read_text() for file in files]
    listed = [line for text in first for line in text.splitlines()]
    assert len(set(listed)) == len(listed) == 102 * 33
    make_split(tmp_path)
    assert [file.read_text() for file in files] == first


# ----------------------------------------------------------------- prepare


def test_every_data_set_can_be_checked():
    assert set(LAYOUTS) == set(names.NAMES)
    for name, layout in LAYOUTS.items():
        cfg = Config.fromfile(config_path(f'must/vit-b16_{name}.py'))
        train, test = (
            cfg[f'{loader}_dataloader'].dataset for loader in ('train', 'val')
        )
        assert layout.type == train.type == test.type
        assert list(layout.counts) == [train.split, test.split]


@pytest.mark.parametrize('name', names.NAMES)
def test_check_finds_nothing_but_the_count(name, tmp_path, no_checksums):
    """The generated folders are right, but have few images."""
    root = write_layout(name, tmp_path / name)
    problems = list(check(name, root))
    assert len(problems) == 2
    for problem, expected in zip(
        problems, LAYOUTS[name].counts.values(), strict=True
    ):
        assert f'images, {expected} expected' in problem


@pytest.mark.parametrize('name', names.NAMES)
def test_check_names_what_is_missing(name, tmp_path):
    problems = list(check(name, tmp_path / 'nowhere'))
    needs = LAYOUTS[name].needs
    assert len(problems) == len(needs)
    for problem, (path, origin) in zip(problems, needs.items(), strict=True):
        assert f'nowhere/{path} is missing' in problem
        assert origin in problem and LAYOUTS[name].source in problem


def test_check_finds_faults(tmp_path, capsys):
    root = write_layout('food101', tmp_path / 'food101')
    (root / 'images/waffles/train.jpg').unlink()
    broken = root / 'images/apple_pie/train.jpg'
    broken.unlink()
    broken.write_bytes(b'no image')
    listed = root / 'meta/test.txt'
    listed.write_text(listed.read_text().replace('ramen/test\n', ''))
    assert main(['food101', str(root)]) == 1
    output = capsys.readouterr().out
    assert 'train: 1 files missing: ' in output
    assert 'waffles/train.jpg' in output
    assert 'apple_pie/train.jpg cannot be decoded' in output
    assert 'test: no image of ramen' in output
    assert '5 problem(s)' in output


def test_check_finds_shifted_labels(tmp_path):
    """Class ids that start at 0 would shift every label of Pets."""
    root = write_layout('pets', tmp_path / 'pets')
    file = root / 'annotations/test.txt'
    rows = [row.split() for row in file.read_text().splitlines()]
    file.write_text(
        ''.join(f'{row[0]} {1 + int(row[1]) % 37} 1 1\n' for row in rows)
    )
    assert any(
        'test: 37 labels are of another class' in problem
        for problem in check('pets', root)
    )


def test_a_complete_data_set_is_ready(tmp_path, monkeypatch, capsys):
    root = write_layout('dtd', tmp_path / 'dtd')
    counts = LAYOUTS['dtd'].counts
    monkeypatch.setitem(counts, 'trainval', 94)
    monkeypatch.setitem(counts, 'test', 47)
    assert main(['dtd', str(root)]) == 0
    assert 'dtd: ready' in capsys.readouterr().out.replace(f' in {root}', '')
