"""Options for what a recipe names reach the run."""

from mmengine.config import Config

from must_mm.runs.named_parts import merge_options
from must_mm.utils.paths import config_path


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
