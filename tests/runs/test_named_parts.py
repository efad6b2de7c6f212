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
    with pytest.raises(
        ValueError, match=r'teacher\.\.\.: no list of .*imagenet'
    ):
        merge_options(cfg, {'teacher.decay_end': 0.9})
    # what the runner reads stands in no list
    merge_options(cfg, {'model.head.threshold': 0.6, 'visualizer.name': 'x'})
    assert cfg.visualizer.name == 'x'


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
