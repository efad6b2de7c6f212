"""The generated config: what it says is what is meant."""

from dataclasses import replace

import open_clip
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from must_mm.adapt.clip_config import clip_config, find_tower
from must_mm.adapt.config_parts import Data
from must_mm.adapt.own_config import own_config
from must_mm.adapt.settings import Machine, Tower, choose
from must_mm.adapt.written_config import config_text
from must_mm.engine.autocast import mixed_precision
from must_mm.runs.batch_rule import follow_batch

CLASSES = [f'class {i} of many, with a long name' for i in range(5)]


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path, tmp_path / 'images.txt', 100, CLASSES)


def test_read_back_it_is_the_same(data, clip, tmp_path):
    tower = Tower(size=32, width=32, depth=2)
    settings = choose(100, tower, Machine('cuda', 2**33, 4, True), 0, 1)
    cfg = clip_config(data, clip, tower, settings)
    text = config_text(cfg, 'First line.\n\nAnother.')
    path = tmp_path / 'config.py'
    path.write_text(text)
    assert Config.fromfile(path).to_dict() == cfg
    lines = text.splitlines()
    assert lines[:3] == ['# First line.', '#', '# Another.']
    assert max(map(len, lines)) <= 79 + len(str(tmp_path))
    # written once, used by name: one place to edit
    assert text.count(CLASSES[0]) == 1
    assert 'classes=classes' in text and 'pipeline=train_pipeline' in text
    assert text.count("'EMATeacherHook'") == 1 and '    teacher,\n' in text
    assert cfg['optim_wrapper']['type'] == mixed_precision()['type']


@pytest.fixture
def own(data, clip, tmp_path):
    """Write a MUST config with other keys; return its path."""

    def write(**changes):
        tower = Tower(size=32, width=32, depth=2)
        settings = choose(100, tower, Machine('cpu', 2**33, 1), 0, 1)
        cfg = clip_config(data, clip, tower, settings)
        path = tmp_path / 'own.py'
        path.write_text(config_text({**cfg, **changes}, 'Mine.'))
        return path

    return write


def test_a_published_batch_is_followed_once(own, data):
    """What is described is what trains."""
    path = own(published_batch=128)
    given = Config.fromfile(path)
    assert given.train_dataloader.batch_size == 64
    cfg = own_config(path, data, workers=0)
    rate = given.optim_wrapper.optimizer.lr / 2
    assert cfg['optim_wrapper']['optimizer']['lr'] == rate
    ema = cfg['custom_hooks'][0]
    assert ema == dict(given.custom_hooks[0], images_per_update=128)
    written = Config.fromstring(config_text(cfg, ''), '.py')
    assert follow_batch(written, processes=1) is None


def test_the_prior_of_an_own_config(own, data):
    """It counts until another one is stated, or none is wanted."""
    path = own()
    text = path.read_text()
    assert text.count('prior=None') == 1
    path.write_text(text.replace('prior=None', "prior='auto'"))

    def alignment(**fairness):
        cfg = own_config(path, data, workers=0, fairness=fairness)
        return cfg['model']['pseudo_labels']['alignment']

    assert alignment(loss_weight=1.0)['prior'] == 'auto'
    shares = [0.7, 0.1, 0.1, 0.1]
    assert alignment(loss_weight=1.0, prior=shares)['prior'] == shares
    assert alignment(loss_weight=0) is None


def test_epochs_of_an_own_config(own, data):
    cfg = own_config(own(), data, workers=0, epochs=7)
    assert cfg['train_cfg']['max_epochs'] == 7
    assert cfg['param_scheduler']['end'] == 7
    cosine = dict(type='CosineAnnealingLR', T_max=3)
    cfg = own_config(own(param_scheduler=cosine), data, 0, epochs=7)
    assert cfg['param_scheduler']['T_max'] == 7
    path = own(param_scheduler=[dict(type='LinearLR'), dict(type='StepLR')])
    own_config(path, data, workers=0)
    with pytest.raises(ValueError, match='--epochs: param_scheduler of'):
        own_config(path, data, workers=0, epochs=7)


def test_an_own_config_goes_on_for_a_third(own, data, tmp_path):
    after = replace(data, after=tmp_path / 'a.pth')
    whole = own_config(own(), data, workers=0)['train_cfg']['max_epochs']
    cfg = own_config(own(), after, workers=0)
    assert cfg['load_from'] == str(tmp_path / 'a.pth')
    assert cfg['train_cfg']['max_epochs'] == round(whole / 3) > 1
    assert cfg['param_scheduler']['end'] == round(whole / 3)
    cfg = own_config(own(), after, workers=0, epochs=7)
    assert cfg['train_cfg']['max_epochs'] == 7
    # whose length cannot be told
    steps = [dict(type='LinearLR'), dict(type='StepLR')]
    for schedule in (steps, dict(type='LinearLR', by_epoch=False, end=900)):
        cfg = own_config(own(param_scheduler=schedule), after, workers=0)
        assert cfg['train_cfg']['max_epochs'] == whole


@pytest.mark.parametrize(
    'text, message',
    [('a = = 1', 'SyntaxError'), ("_base_ = ['gone.py']", r'gone\.py')],
)
def test_an_own_config_that_cannot_be_read(data, tmp_path, text, message):
    path = tmp_path / 'own.py'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'--model {path}.*{message}'):
        own_config(path, data, workers=0)


def test_single_tuples_and_odd_keys():
    cfg = dict(
        classes=[], train_pipeline=[1], test_pipeline=[2],
        x=dict(a=(1,), b={'c.d': None}, e=()), y={}, z={'class': 1},
    )  # fmt: skip
    assert Config.fromstring(config_text(cfg, ''), '.py').to_dict() == cfg


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('ViT-B-16', Tower(224, 768, 12)),
        ('ViT-B-16-quickgelu', Tower(224, 768, 12)),
        ('ViT-L-14', Tower(224, 1024, 24)),
    ],
)
def test_towers_by_name(name, expected):
    assert find_tower(name) == expected


def test_a_tower_that_is_no_plain_transformer(data, tmp_path):
    """A small ResNet with attention pooling builds and trains."""
    (tmp_path / 'toy_rn.json').write_text(
        '{"embed_dim": 16, "vision_cfg": {"image_size": 64, "layers": '
        '[1, 1, 1, 1], "width": 8, "patch_size": null}, "text_cfg": '
        '{"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, '
        '"layers": 1}}'
    )
    open_clip.add_model_config(tmp_path / 'toy_rn.json')
    tower = find_tower('toy_rn')
    assert (tower.size, tower.width, tower.depth) == (64, 256, 4)
    weights = tmp_path / 'toy_rn.pt'
    torch.save({}, weights)
    settings = choose(100, tower, Machine('cpu', 2**33, 2), 0, 1)
    start = dict(
        model=str(tmp_path / 'toy_rn.json'),
        pretrained=str(weights),
        templates=['{}'],
    )
    model = clip_config(data, start, tower, settings)['model']
    network = MODELS.build(dict(model, start=None))
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, len(CLASSES))
