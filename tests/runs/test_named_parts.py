"""Options for what a recipe names reach the run."""

import re

import pytest
from mmengine.config import Config

from must_mm.runs.named_parts import merge_options
from must_mm.utils.paths import config_path
from tests.tiny import ROOT


def test_options_reach_the_lists_that_hold_the_part():
    cfg = Config.fromfile(config_path('must/vit-b16_imagenet.py'))
    before = cfg.copy()
    merge_options(
        cfg,
        {
            'mask.mask_ratio': 0.45,
            'teacher.warmup_steps': 7,
            'model.head.threshold': 0.6,
        },
    )
    *views, mask, pack = cfg.train_dataloader.dataset.pipeline
    assert mask == dict(before.mask, mask_ratio=0.45) == cfg.mask
    assert cfg.train_pipeline == [*views, mask, pack]
    assert [*views, pack] == [*before.views, before.pack]
    teacher, *guards = cfg.custom_hooks
    assert teacher == dict(before.teacher, warmup_steps=7)
    assert guards == before.guards
    assert cfg.model.head.threshold == 0.6


def test_an_option_of_the_list_itself_is_mmengines():
    cfg = Config.fromfile(config_path('must/vit-b16_imagenet.py'))
    merge_options(cfg, {'custom_hooks.0.warmup_steps': 3})
    assert cfg.custom_hooks[0].warmup_steps == 3
    assert cfg.teacher.warmup_steps == 2000


def test_a_name_that_nothing_holds_is_an_error():
    cfg = Config.fromfile(config_path('must/vit-b16_imagenet.py'))
    cfg.custom_hooks[0].warmup_steps = 3
    with pytest.raises(ValueError, match='teacher: this name was used up'):
        merge_options(cfg, {'teacher.decay_end': 0.9})
    # what the runner reads stands in no list
    merge_options(cfg, {'model.head.threshold': 0.6, 'visualizer.name': 'x'})
    assert cfg.visualizer.name == 'x'


@pytest.mark.parametrize(
    'recipe, key, place',
    [
        ('vit-b16_custom', 'epochs', 'param_scheduler.end, train_cfg.max_ep'),
        ('vit-b16_custom', 'lr_per_256', 'print_config'),
        ('vit-b16_custom', 'prior', 'print_config'),
        ('vit-b16_custom', 'root', 'train_dataloader.dataset.data_root'),
        ('vit-b16_custom', 'classes', 'model.start.classes'),
        ('vit-b16_custom', 'train_pipeline.0.lazy', 'dataset.pipeline'),
        # its values are parts of the model by then
        ('vit-b16_pets_balanced', 'balanced.masked_view', 'print_config'),
        # the base has it in its pipeline, this recipe has not
        ('vit-b16_pets_balanced', 'mask.mask_ratio', 'print_config'),
    ],
)
def test_a_name_that_is_used_up_says_what_to_set(recipe, key, place):
    cfg = Config.fromfile(config_path(f'must/{recipe}.py'))
    name = key.split('.')[0]
    with pytest.raises(
        ValueError, match=f'--cfg-options {name}: .*{recipe}.*{place}'
    ):
        merge_options(cfg, {key: 1})


def test_a_key_that_nobody_reads_is_an_error():
    cfg = Config.fromfile(config_path('must/vit-b16_custom.py'))
    with pytest.raises(ValueError, match='--cfg-options modle: no run reads'):
        merge_options(cfg, {'modle.head.threshold': 0.5})
    read = {'published_batch': 64, 'sync_bn': 'torch', 'resume': True}
    merge_options(cfg, read)
    assert read.items() <= cfg.to_dict().items()


def test_the_page_says_the_same_twice(tmp_path):
    """The config that it shows, and the options."""
    page = (ROOT / 'configs' / 'must' / 'README.md').read_text()
    (shown,) = re.findall(r'```python\n(_base_ = .*?)```', page, re.DOTALL)
    base = config_path('must/vit-b16_food101.py')
    (tmp_path / 'child.py').write_text(shown.replace(base.name, str(base)))
    child = Config.fromfile(tmp_path / 'child.py')
    (line,) = re.findall(r'`--cfg-options (mask.*?)`', page)
    options = Config.fromfile(base)
    merge_options(
        options,
        {
            key: float(value)
            for key, value in (word.split('=') for word in line.split())
        },
    )
    assert child.to_dict() == options.to_dict()
    assert child.mask.mask_ratio == 0.2 and child.teacher.decay_start == 0.99
