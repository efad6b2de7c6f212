"""Which labels may be used, and how often such images come."""

import pickle

import pytest
import torch
from mmpretrain.registry import DATASETS

from must_mm.datasets.known_labels import (
    KnownLabels,
    LabelledShareSampler,
    labelled_turns,
    read_labels,
)
from must_mm.datasets.seeding import EpochIndex
from tests.tiny import CLASSES, TEST_PIPELINE, TRAIN_PIPELINE, dataset


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / 'known.txt'
    path.write_text('bee/1.png 1\ndog/5.png 0\n')
    return path


def build(images, listed, pipeline=TEST_PIPELINE, **outer):
    options = dataset(images, pipeline, 'names.txt')
    options.update(
        type='KnownLabels', source='CustomDataset', labels=str(listed)
    )
    return DATASETS.build(options | outer)


def test_samples_of_the_list_say_so(images, listed):
    data = build(images, listed)
    assert len(data) == 24 and data.metainfo['classes'] == CLASSES
    for index in range(24):
        sample = data[index]['data_samples']
        path = sample.img_path
        if path.endswith(('bee/1.png', 'dog/5.png')):
            assert sample.labelled
            assert sample.gt_label.tolist() == [int('bee' in path)]
        else:
            assert 'labelled' not in sample and 'gt_label' not in sample
        assert data.get_data_info(index)['labelled'] == ('labelled' in sample)


def test_configs_may_be_nested_as_mmengines(images, listed):
    inside = dataset(images, TEST_PIPELINE, 'names.txt')
    known = dict(type='KnownLabels', dataset=inside, labels=str(listed))
    data = DATASETS.build(dict(type='SkipBadImages', dataset=known))
    assert isinstance(data.dataset, KnownLabels) and len(data) == 24
    assert data.get_data_info(7)['labelled']
    assert data[7]['data_samples'].labelled


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(dataset=3), r'dataset\.dataset must be str or dict, got 3'),
        (dict(), r'dataset\.dataset must be str or dict, got None'),
        (dict(dataset='CustomDataset', source='CustomDataset'), 'give one'),
    ],
)
def test_what_is_no_data_set_is_named(listed, options, said):
    with pytest.raises(TypeError, match=said):
        DATASETS.build(dict(type='KnownLabels', labels=str(listed), **options))


def test_wrappers_go_around(images, listed):
    """One inside may give another sample than the label is of."""
    inside = dataset(images, TEST_PIPELINE, 'names.txt')
    wrapped = dict(type='SkipBadImages', dataset=inside)
    with pytest.raises(TypeError, match="around .*dataset=dict.*'KnownLabel"):
        DATASETS.build(
            dict(type='KnownLabels', labels=str(listed), dataset=wrapped)
        )


def test_an_image_that_cannot_be_read_keeps_no_label(images, listed, tmp_path):
    """The next one takes its place, with the label that is its own."""
    import shutil

    folder = tmp_path / 'copy'
    shutil.copytree(images, folder)
    (folder / 'images' / 'bee' / '1.png').write_bytes(b'')
    data = build(
        folder,
        listed,
        [dict(type='LoadImage'), *TEST_PIPELINE[1:]],
        type='SkipBadImages',
        dataset='KnownLabels',
    )
    assert isinstance(data.dataset, KnownLabels)
    place = 6 + 1
    sample = data[place]['data_samples']
    assert sample.img_path.endswith('bee/2.png')
    assert 'gt_label' not in sample and data.get_data_info(place)['labelled']


@pytest.mark.parametrize(
    'text, said',
    [
        ('bee/1.png\n', 'line 1'),
        ('bee/1.png 1\nbee/2.png x\n', 'line 2'),
        ('bee/1.png 4\n', 'one of 4 classes'),
    ],
)
def test_bad_lists_name_the_line(tmp_path, text, said):
    path = tmp_path / 'known.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_labels(path, 4)
    with pytest.raises(FileNotFoundError, match=r'dataset\.labels'):
        read_labels(tmp_path / 'gone.txt', 4)


def test_spaces_in_names(tmp_path):
    path = tmp_path / 'known.txt'
    path.write_text('my ants/a b.png 3\n')
    assert read_labels(path, 4) == {'my ants/a b.png': 3}


def test_images_that_are_not_there_are_named(images, tmp_path):
    path = tmp_path / 'known.txt'
    path.write_text('bee/1.png 1\nbee/99.png 1\n')
    with pytest.raises(ValueError, match='1 images of.*99.png'):
        build(images, path)


@pytest.mark.parametrize('share', [0.1, 0.25, 0.5, 0.9])
def test_every_batch_has_its_share(share):
    turns = labelled_turns(share, 3)
    for _ in range(20):
        batch = [next(turns) for _ in range(16)]
        assert abs(sum(batch) - 16 * share) <= 1


class Listed:
    """100 samples of which some are labelled."""

    def __init__(self, labelled):
        self.labelled = labelled

    def __len__(self):
        return 100

    def get_data_info(self, index):
        return dict(labelled=index in self.labelled)


def test_an_epoch_is_one_pass_with_labelled_ones_between():
    sampler = LabelledShareSampler(
        Listed({7, 8, 9}), share=0.25, shuffle=True, seed=5
    )
    found = list(sampler)
    assert len(found) == len(sampler) == 133  # 100 / 0.75, up to one
    plain = [int(index) for index in found if not index.repeat]
    extra = [int(index) for index in found if index.repeat]
    assert sorted(plain) == list(range(100))
    assert set(extra) == {7, 8, 9} and len(extra) == 33
    assert [extra.count(index) for index in (7, 8, 9)] == [11, 11, 11]
    # each time in views of its own
    draws = {(int(index), index.repeat) for index in found}
    assert len(draws) == 133
    assert all(index.epoch == 0 and index.seed == 5 for index in found)


def test_epochs_differ_and_come_again():
    def epoch(number):
        sampler = LabelledShareSampler(Listed({1, 2, 3, 4}), seed=0)
        sampler.set_epoch(number)
        return [(int(index), index.repeat) for index in sampler]

    assert epoch(1) == epoch(1) != epoch(2)


def test_without_labels_it_is_the_plain_sampler():
    sampler = LabelledShareSampler(Listed(set()), shuffle=False)
    assert [int(index) for index in sampler] == list(range(100))
    with pytest.raises(ValueError, match=r'sampler\.share'):
        LabelledShareSampler(Listed({1}), share=1)


def test_ranks_draw_different_views(monkeypatch):
    seen = set()
    for rank in range(2):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info',
            lambda rank=rank: (rank, 2),
        )
        sampler = LabelledShareSampler(Listed({7}), share=0.5, seed=0)
        found = [(int(i), i.repeat) for i in sampler if i.repeat]
        assert len(found) == len(set(found)) == 49
        assert not seen & set(found)
        seen |= set(found)


def test_repeats_are_drawn_anew(images, listed):
    """The same image in the same epoch, in other views."""
    data = build(images, listed, TRAIN_PIPELINE)
    index = 7

    def view(repeat):
        return data[EpochIndex(index, 0, 0, repeat)]['inputs'][1]

    assert torch.equal(view(0), data[EpochIndex(index, 0, 0)]['inputs'][1])
    assert torch.equal(view(1), view(1))
    assert not torch.equal(view(0), view(1))
    assert not torch.equal(view(2), view(1))
    assert pickle.loads(pickle.dumps(EpochIndex(3, 1, 2, 4))).repeat == 4
