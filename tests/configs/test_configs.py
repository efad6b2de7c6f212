"""The quickstart recipes build, train two iterations and resume."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS

from must_mm.utils.paths import config_path, tool_path
from must_mm.weights.text import read_classes, read_templates
from tests.configs.shrunken import shrink, train_and_resume
from tests.tiny import ROOT, dataset, write_images

RECIPES = sorted(
    path.name
    # vit-*.py: test_recipes.py
    for path in (ROOT / 'configs' / 'must').glob('quickstart_*.py')
)
TINY = dict(
    _delete_=True,
    embed_dims=32,
    num_layers=2,
    num_heads=2,
    feedforward_channels=64,
)


@pytest.fixture(scope='module')
def large_images(tmp_path_factory):
    """Larger than any view, so that every crop fits."""
    folder = tmp_path_factory.mktemp('large')
    return write_images(folder, size=(260, 240))


def small_recipe(name: str, images, work_dir) -> Config:
    """A recipe with a toy network, on four classes of generated images.

    Views, masks, losses, schedule, hooks and loops stay the recipe's own.
    """
    cfg = Config.fromfile(config_path(f'must/{name}'))
    shrink(cfg, work_dir, width=16, batch=16)
    changes = {
        'model.backbone.arch': TINY,
        'model.neck': dict(in_channels=32, out_channels=16),
    }
    if cfg.model.get('decoder'):
        changes['model.decoder.in_channels'] = 32
    for loader in ('train', 'val', 'test'):
        pipeline = cfg[f'{loader}_dataloader'].dataset.pipeline
        data = dict(dataset(images, pipeline), _delete_=True)
        changes[f'{loader}_dataloader.dataset'] = data
        if loader != 'train':
            changes[f'{loader}_dataloader.batch_size'] = 12
            changes[f'{loader}_dataloader.num_workers'] = 0
    cfg.merge_from_dict(changes)
    return cfg


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize('name', RECIPES)
def test_two_iterations_and_resume(name, large_images, tmp_path):
    moved = train_and_resume(small_recipe(name, large_images, tmp_path))
    assert any(not name.startswith('teacher.') for name in moved)
    assert any(name.startswith('teacher.') for name in moved)


def test_views_are_the_same_without_a_mask(large_images, tmp_path):
    """It is drawn last: what is compared differs in nothing else."""
    samples = [
        DATASETS.build(
            small_recipe(name, large_images, tmp_path).train_dataloader.dataset
        )[5]
        for name in (
            'quickstart_digits.py',
            'quickstart_digits_self-training.py',
        )
    ]
    assert ['mask' in one['data_samples'] for one in samples] == [True, False]
    for masked, plain in zip(*(one['inputs'] for one in samples), strict=True):
        assert torch.equal(masked, plain)


@pytest.mark.parametrize('name', RECIPES)
def test_sizes_and_names_agree(name):
    """At the recipe's own size, without weights."""
    cfg = Config.fromfile(config_path(f'must/{name}'))
    start, head = cfg.model.start, cfg.model.head
    names = read_classes(
        start.classes,
        'model.start.classes',
        start.get('allow_duplicates', False),
    )
    assert len(names) == head.num_classes
    assert read_templates(start.templates)
    for loader in ('val', 'test'):
        metainfo = cfg[f'{loader}_dataloader'].dataset.get('metainfo', {})
        if 'classes' in metainfo:
            assert len(metainfo['classes']) == head.num_classes
    cfg.model.start = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert head.in_channels == cfg.model.neck.out_channels
    assert model.backbone.embed_dims == cfg.model.neck.in_channels
    masks = [
        step
        for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'MUSTMaskGenerator'
    ]
    assert bool(masks) == (cfg.model.get('masked_view') != 'off')
    if not masks:
        return
    assert len(masks) == 1
    assert masks[0].input_size == cfg.model.backbone.img_size
    assert masks[0].model_patch_size == cfg.model.backbone.patch_size
    if cfg.model.decoder:
        assert cfg.model.decoder.encoder_stride == masks[0].model_patch_size
        assert cfg.model.mim_head.patch_size == masks[0].model_patch_size


@pytest.mark.parametrize('name', RECIPES)
def test_header_has_paper_figures_and_command(name):
    """So that a reader knows what to run and what to expect."""
    lines = config_path(f'must/{name}').read_text().split('_base_')[0]
    for needed in ('https://arxiv.org/abs/2206.02967', 'python tools/train'):
        assert needed in lines


def test_missing_files_say_so():
    with pytest.raises(FileNotFoundError, match='configs/must/none.py'):
        config_path('must/none.py')
    with pytest.raises(FileNotFoundError, match='tools/none.py'):
        tool_path('none.py')
    assert tool_path('train.py').is_file()
