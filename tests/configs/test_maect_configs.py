"""Every recipe of MAE-CT builds, trains an iteration, and is as published."""

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmpretrain import get_model, list_models
from mmpretrain.registry import MODELS

from must_mm.checkpoints.plain import load_tensors
from must_mm.models.maect import MAECT
from must_mm.runs.batch_rule import follow_batch
from must_mm.utils.paths import config_path
from tests.tiny import ROOT, write_images
from tests.tiny_maect import full_depth, maect_config, write_mae

RECIPES = sorted(
    path.stem for path in (ROOT / 'configs' / 'mae_ct').glob('vit-*.py')
)
#: epochs, T, top-k, EMA keep, head rate, frozen blocks (paper)
STAGE_3 = {
    'vit-b16': (20, 0.15, 20, 0.99, 1e-4, 6),
    'vit-l16': (20, 0.2, 20, 0.99, 1e-4, 12),
    'vit-h16': (30, 0.3, 20, 0.995, 1e-4, 16),
    'vit-h14': (30, 0.3, 20, 0.995, 1e-4, 16),
    'vit-b16_byol': (80, 0.15, 10, 0.99, 5e-4, 6),
    'vit-l16_byol': (40, 0.15, 10, 0.99, 5e-4, 12),
    'vit-h16_byol': (40, 0.35, 20, 0.995, 5e-4, 16),
    'vit-h14_byol': (40, 0.35, 20, 0.995, 5e-4, 16),
}


@pytest.fixture(scope='module')
def large_images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('large'), size=(90, 80))


@pytest.fixture(scope='module')
def checkpoints(large_images, tmp_path_factory):
    """A random MAE, and a random head on it as stage 2 leaves it."""
    folder = tmp_path_factory.mktemp('start')
    mae = write_mae(folder / 'mae.pth')
    cfg = maect_config('vit-b16_stage2', large_images, folder, mae)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'stage2.pth')
    return dict(stage2=mae, stage3=folder / 'stage2.pth')


def test_all_recipes_are_there():
    assert set(RECIPES) == {
        f'{name}_{stage}' for name in STAGE_3 for stage in ('stage2', 'stage3')
    }


@pytest.mark.parametrize('name', RECIPES)
def test_one_iteration(name, large_images, checkpoints, tmp_path):
    """Data, model and groups of the recipe, its start and one update."""
    start = checkpoints[name.rsplit('_', 1)[1]]
    cfg = maect_config(name, large_images, tmp_path, start)
    model = MODELS.build(cfg.model).train()
    model.load_state_dict(load_tensors(start)['state_dict'], strict=False)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    log = model.train_step(next(iter(loader)), optimizer)
    assert log['loss'].isfinite() and 'nn_accuracy' in log
    assert model.head.queue.pointer == cfg.train_dataloader.batch_size
    trained = {
        name.split('.')[0]
        for group in optimizer.optimizer.param_groups
        for name in group['param_names']
    }
    stage = {'head'} if 'stage2' in name else {'head', 'backbone'}
    assert trained == stage


@pytest.mark.parametrize('name', RECIPES)
def test_settings_are_the_published(name):
    cfg = Config.fromfile(config_path(f'mae_ct/{name}.py'))
    model, wrapper = cfg.model, cfg.optim_wrapper
    size, stage = name.rsplit('_', 1)
    epochs, temperature, topk, keep, head_lr, frozen = STAGE_3[size]
    if stage == 'stage2':
        epochs, temperature, topk, keep, head_lr = 20, 0.15, 1, None, 1e-4
        frozen = full_depth(cfg)
    batch = 512 if 'vit-h' in name else 1024
    found = dict(
        epochs=(cfg.train_cfg.max_epochs, cfg.param_scheduler.end),
        temperature=model.head.temperature,
        topk=model.head.queue.topk,
        keep=model.head.target_decay,
        head_lr=wrapper.paramwise_cfg.head_lr,
        lr=wrapper.optimizer.lr,
        frozen=model.backbone.frozen_stages,
        batch=8 * cfg.train_dataloader.batch_size,
        encoder_decay=model.get('encoder_decay'),
    )
    assert found == dict(
        epochs=(epochs, epochs),
        temperature=temperature,
        topk=topk,
        keep=keep,
        head_lr=pytest.approx(head_lr * batch * 2 / 256),
        lr=pytest.approx(1e-4 * batch * 2 / 256),
        frozen=frozen,
        batch=batch,
        encoder_decay=None if stage == 'stage2' else 0.9999,
    )
    # the batch of the rates is that of the command in its header
    assert cfg.published_batch == batch
    follow_batch(cfg, 8)
    assert wrapper.optimizer.lr == found['lr']
    assert wrapper.paramwise_cfg.head_lr == found['head_lr']
    pooled = 'featmap' if 'b16' in name else 'cls_token'
    assert model.backbone.out_type == pooled
    assert ('neck' in model) == (pooled == 'featmap')
    assert model.head.queue.size % batch == 0
    if stage == 'stage3':
        assert cfg.load_from == f'work_dirs/{size}_stage2/epoch_20.pth'


@pytest.mark.parametrize('name', ['vit-b16', 'vit-l16', 'vit-h16', 'vit-h14'])
def test_full_size_builds(name):
    """At the recipe's own size, without weights."""
    cfg = Config.fromfile(config_path(f'mae_ct/{name}_stage3.py'))
    cfg.model.head.queue.size = 64
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert len(model.backbone.layers) == full_depth(cfg)
    assert model.backbone.patch_embed.projection.kernel_size[0] == int(
        name[-2:]
    )


@pytest.mark.parametrize('name', RECIPES)
def test_header_has_paper_figures_and_command(name):
    """So that a reader knows what to run and what to expect."""
    header = config_path(f'mae_ct/{name}.py').read_text().split('_base_')[0]
    for needed in (
        'https://arxiv.org/abs/2304.10520',
        '(paper, ImageNet-1k',
        f'tools/dist_train.sh configs/mae_ct/{name}.py 8',
    ):
        assert needed in header


def test_order_of_the_byol_views():
    cfg = Config.fromfile(config_path('mae_ct/vit-b16_byol_stage2.py'))
    (views,) = [
        step
        for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'MultiView'
    ]
    order = ['RandomResizedCrop', 'RandomFlip', 'RandomApply', 'GaussianBlur']
    order += ['RandomGrayscale']
    first, second = ([t.type for t in view] for view in views.transforms)
    assert first == order and second == [*order, 'Solarize']
    blurs = [view[3].prob for view in views.transforms]
    assert blurs == [1.0, 0.1]


def test_metafile_lists_every_recipe():
    text = (ROOT / 'configs' / 'mae_ct' / 'metafile.yml').read_text()
    index = yaml.safe_load(text)
    listed = {model['Config']: model for model in index['Models']}
    assert set(listed) == {f'configs/mae_ct/{name}.py' for name in RECIPES}
    for path, model in listed.items():
        cfg = Config.fromfile(ROOT / path)
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs
        batch = 8 * cfg.train_dataloader.batch_size
        assert model['Metadata']['Batch Size'] == batch
        assert model['Weights'] is None  # nothing was trained at full size
    names = [model['Name'] for model in index['Models']]
    assert set(list_models('maect_*')) == set(names)
    assert isinstance(get_model(names[0]), MAECT)
