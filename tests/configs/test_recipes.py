"""Every recipe: its numbers, its model, its pipelines, one iteration."""

import ast
import re

import open_clip
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS

from must_mm.datasets.names import NAMES
from must_mm.quickstart.run import epoch_keys
from must_mm.runs.batch_rule import follow_batch
from must_mm.utils.paths import config_path
from must_mm.weights.text import read_classes, read_templates
from tests.tiny import ROOT, build
from tests.weights.layouts import draw, write_layout

RECIPES = sorted(
    path.stem for path in (ROOT / 'configs' / 'must').glob('vit-*.py')
)
# The published table: mask block, mask ratio, weights of alignment and
# fairness, threshold, rate per 256 images, epochs, first decay, ramp.
PUBLISHED = {
    'vit-b16_imagenet': (32, 0.3, 0.2, 1, 0.7, 2e-5, 30, 0.999, 2000),
    'vit-l14_imagenet': (56, 0.3, 0.5, 1, 0.5, 4e-5, 20, 0.999, 2000),
    'vit-b16_sun397': (32, 0.1, 1, 0.2, 0.4, 1e-4, 20, 0.99, 500),
    'vit-l14_sun397': (28, 0.2, 0.5, 0.2, 0.3, 2e-4, 20, 0.99, 500),
    'vit-b16_food101': (32, 0.1, 0.1, 1, 0.7, 2e-5, 40, 0.999, 2000),
    'vit-l14_food101': (56, 0.1, 0.1, 1, 0.7, 4e-5, 40, 0.999, 2000),
    'vit-b16_gtsrb': (32, 0.5, 0.5, 1, 0.3, 2e-5, 20, 0.99, 500),
    'vit-l14_gtsrb': (56, 0.3, 0.5, 1, 0.2, 4e-5, 20, 0.99, 500),
    'vit-b16_dtd': (32, 0.1, 0.2, 1, 0.4, 2e-5, 60, 0.99, 100),
    'vit-l14_dtd': (56, 0.1, 0.5, 1, 0.5, 4e-5, 60, 0.99, 100),
    'vit-b16_ucf101': (16, 0.1, 0.5, 1, 0.5, 1e-5, 60, 0.99, 500),
    'vit-l14_ucf101': (28, 0.1, 0.5, 1, 0.6, 2e-5, 60, 0.99, 500),
    'vit-b16_pets': (32, 0.1, 0.2, 1, 0.7, 1e-5, 60, 0.99, 100),
    'vit-b16_caltech101': (32, 0.1, 0.2, 1, 0.7, 1e-5, 60, 0.99, 100),
}
BALANCED = [f'{name}_balanced' for name in PUBLISHED]
TINY = dict(
    _delete_=True,
    embed_dims=16,
    num_layers=1,
    num_heads=2,
    feedforward_channels=16,
)


def read(name: str) -> Config:
    return Config.fromfile(config_path(f'must/{name}.py'))


def data_set(name: str) -> str:
    return name.split('_')[1]


def test_recipes_are_complete():
    others = {
        *(f'vit-b32_{name}' for name in NAMES),
        'vit-b16_cifar10',
        'vit-b16_cifar100',
        'vit-b16_custom',
        'vit-b16_custom_single-gpu',
    }
    assert len(PUBLISHED) == 14
    assert set(RECIPES) == PUBLISHED.keys() | others | set(BALANCED)


@pytest.mark.parametrize('name', PUBLISHED)
def test_numbers_are_the_published_ones(name):
    cfg = read(name)
    mask, ema = cfg.mask, cfg.teacher
    rate = cfg.optim_wrapper.optimizer.lr / cfg.published_batch * 256
    found = (
        mask.mask_patch_size,
        mask.mask_ratio,
        cfg.model.align_loss.loss_weight,
        cfg.model.head.fairness.loss_weight,
        cfg.model.head.threshold,
        rate,
        cfg.train_cfg.max_epochs,
        ema.decay_start,
        ema.warmup_steps,
    )
    assert found == pytest.approx(PUBLISHED[name], rel=1e-12)
    assert cfg.published_batch == 1024 and ema.decay_end == 0.9998
    assert cfg.param_scheduler.T_max == cfg.train_cfg.max_epochs
    floor = cfg.param_scheduler.eta_min_ratio * rate
    assert floor == pytest.approx(1e-6, rel=1e-12)
    per_class = data_set(name) in ('pets', 'caltech101')
    metric = 'SingleLabelMetric' if per_class else 'Accuracy'
    assert cfg.val_evaluator.type == cfg.test_evaluator.type == metric
    # what is validated is what is tested
    assert cfg.val_dataloader.dataset == cfg.test_dataloader.dataset
    if per_class:  # recall averaged over classes
        assert cfg.val_evaluator['items'] == ('recall',)
    assert cfg.model.start.pretrained == 'openai'
    tower = dict(b16='ViT-B-16', l14='ViT-L-14')[name[4:7]]
    assert cfg.model.start.model == tower


@pytest.mark.parametrize('name', RECIPES)
def test_what_has_a_name_is_what_runs(name):
    """A recipe changes the mask and the teacher by name, and both arrive."""
    cfg = read(name)
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    masks = [] if cfg.model.get('masked_view') == 'off' else [cfg.mask]
    assert cfg.train_pipeline == [*cfg.views, *masks, cfg.pack]
    assert cfg.custom_hooks == [cfg.teacher, *cfg.guards]
    assert dict(type='CompileBlocksHook', device='cuda') in cfg.guards


STEPS = {  # of 1024 images
    'imagenet': 1251, 'sun397': 19, 'food101': 73, 'gtsrb': 26, 'dtd': 3,
    'ucf101': 9, 'pets': 3, 'caltech101': 2,
}  # fmt: skip


@pytest.mark.parametrize('name', PUBLISHED)
def test_balanced_recipes_differ_in_what_they_say(name):
    """Labels, masks, schedule and teacher, who remembers a sixth."""
    base, cfg = read(name), read(f'{name}_balanced')
    assert cfg.model.masked_view == 'off'
    alignment = dict(type='BalancedLabels', strength='auto')
    assert cfg.model.pseudo_labels == dict(alignment=alignment)
    schedule = cfg.param_scheduler
    assert schedule.type == 'WarmupCosineLR'
    assert schedule.end == cfg.train_cfg.max_epochs
    steps = STEPS[data_set(name)] * cfg.train_cfg.max_epochs
    memory = min(5000, steps / 6)
    assert cfg.teacher.decay_start == cfg.teacher.decay_end
    assert 1 / (1 - cfg.teacher.decay_end) == pytest.approx(memory, rel=0.03)
    for key in ('masked_view', 'pseudo_labels'):
        cfg.model.pop(key)
    changed = {
        key
        for key in base.keys() | cfg.keys()
        if base.get(key) != cfg.get(key)
    }
    assert changed == {
        'param_scheduler',
        'teacher',
        'custom_hooks',
        'train_pipeline',
        'train_dataloader',
        # the names by which the recipe takes them
        'balanced',
        'warm_up',
    }


def test_no_recipe_indexes_a_list():
    """One inserted step would make it edit another."""
    indexed = {
        path.name
        for path in (ROOT / 'configs').rglob('*.py')
        for node in ast.walk(
            ast.parse(re.sub('[{}]{2}', '', path.read_text()))
        )
        if isinstance(node, ast.Subscript)
    }
    assert not indexed


@pytest.mark.parametrize('name', RECIPES)
def test_sizes_fit_open_clips_tower(name):
    """At the recipe's own size, without weights."""
    cfg = read(name)
    start, head = cfg.model.start, cfg.model.head
    classes = read_classes(
        start.classes, 'classes', start.get('allow_duplicates', False)
    )
    assert len(classes) == head.num_classes
    assert read_templates(start.templates)
    tower = open_clip.get_model_config(start.model)
    cfg.model.start = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    vision = tower['vision_cfg']
    assert model.backbone.embed_dims == vision['width']
    assert len(model.backbone.layers) == vision['layers']
    assert cfg.model.backbone.patch_size == vision['patch_size']
    assert cfg.model.backbone.img_size == vision['image_size']
    assert model.neck.proj.shape == (vision['width'], tower['embed_dim'])
    assert head.in_channels == tower['embed_dim']
    assert cfg.model.mim_head.patch_size == vision['patch_size']


@pytest.mark.parametrize('name', RECIPES)
def test_header(name):
    header = config_path(f'must/{name}.py').read_text().split('_base_')[0]
    assert 'https://arxiv.org/abs/2206.02967' in header
    assert f'configs/must/{name}.py' in header
    if name in PUBLISHED:
        assert 'Hardware (paper): 16 GPUs x 64 images' in header
    else:
        assert 'Not a recipe of the paper' in header
        assert '(paper)' not in header


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """Every data set in its own layout, one image a class and split."""
    folder = tmp_path_factory.mktemp('data')
    custom = folder / 'custom'
    for i in range(8):
        draw(custom / 'train' / f'{i % 2}' / f'{i}.png', seed=i)
        draw(custom / 'test' / f'{i}.png', seed=i)
    rows = [f'{i}.png {i % 2}' for i in range(8)]
    (custom / 'test.txt').write_text('\n'.join(rows) + '\n')
    return {
        'custom': custom,
        **{name: write_layout(name, folder / name) for name in NAMES},
    }


@pytest.fixture
def no_checksums(monkeypatch):
    """Generated files cannot have the sums of CIFAR's own."""
    cifar = DATASETS.get('CIFAR10')
    monkeypatch.setattr(cifar, '_check_integrity', lambda self: True)


@pytest.mark.parametrize(
    'name',
    [
        name
        for name in RECIPES
        # which differ from their bases in the same lines
        if name not in BALANCED or name == 'vit-b16_dtd_balanced'
    ],
)
def test_one_iteration(name, roots, no_checksums, tmp_path):
    """The recipe with one narrow block, on the data set's own layout.

    Data sets, views, masks, losses, schedule and hooks are the recipe's.
    """
    cfg = read(name)
    root = str(roots[data_set(name)])
    few = dict(num_workers=0, persistent_workers=False, batch_size=4)
    changes = {
        'model.backbone.arch': TINY,
        'model.neck': dict(in_channels=16, out_channels=8),
        'model.head.in_channels': 8,
        'model.decoder.in_channels': 16,
        'model.start': None,
        'train_dataloader': few,
        'train_dataloader.dataset.data_root': root,
        'test_dataloader': few,
        'test_dataloader.dataset.data_root': root,
        **epoch_keys(cfg, 1),
        # the same images and pipeline as the test
        'val_dataloader': None,
        'val_cfg': None,
        'val_evaluator': None,
        'default_hooks.checkpoint': None,
        'visualizer.vis_backends': [],
        'log_level': 'WARNING',
        'work_dir': str(tmp_path),
    }
    # a CPU has no gradient scaling; the wrapper is MMEngine's own
    changes['optim_wrapper.type'] = 'OptimWrapper'
    cfg.merge_from_dict(changes)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        # serialising is for workers, and collects all garbage first
        loader.dataset.update(indices=4, serialize_data=False)
    cfg.optim_wrapper.pop('loss_scale', None)
    follow_batch(cfg, processes=1)
    runner = build(cfg)
    runner.train()
    assert runner.iter == 1
    assert runner.optim_wrapper.param_groups
    scalars = runner.message_hub.log_scalars
    masked = ('loss_mim', 'loss_align')
    if cfg.model.get('masked_view') == 'off':
        masked = ()
    for term in ('loss_st', 'loss_fair', *masked):
        assert scalars[f'train/{term}'].current() >= 0, term
    metrics = runner.test()
    assert {key.split('/')[0] for key in metrics} == {'student', 'teacher'}
