"""Every key of MUST, in and out of range: python -m tests.long.fuzz_configs

Outside its documented range or type a value is refused when the part is
built, by a ValueError or TypeError with the key's name. Inside, the model
takes one training step, and all its losses are finite.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import (
    DATASETS,
    HOOKS,
    MODELS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
)
from mmpretrain.structures import DataSample

from must_mm.models.ema import ema_update
from must_mm.runs.batch_rule import follow_batch
from tests.tiny import CLASSES, PATCH, SIZE, WIDTH, tiny_config

NAN, INF = float('nan'), float('inf')
BATCH = 4
NO_NUMBER = (None, True, 'text', '0.5', [], {}, (1, 2), NAN, INF, -INF)


def numbers(low, high, *, closed_low=False, closed_high=False):
    """Floats inside an interval, and values outside it."""
    inside = st.floats(
        low,
        None if high == INF else high,
        exclude_min=not closed_low,
        exclude_max=high != INF and not closed_high,
        allow_nan=False,
        allow_infinity=False,
    )
    outside = [st.sampled_from(NO_NUMBER)]
    if low != -INF:
        outside.append(st.floats(max_value=low, exclude_max=closed_low))
    if high != INF:
        outside.append(st.floats(min_value=high, exclude_min=closed_high))
    return inside, st.one_of(outside)


def integers(low, high):
    """Integers from ``low`` on, up to what runs quickly; and others."""
    return st.integers(low, high), st.one_of(
        st.integers(max_value=low - 1),
        st.floats(),
        st.sampled_from(NO_NUMBER),
    )


def choices(*values, wrong=NO_NUMBER):
    """Some values, and others."""
    return st.sampled_from(values), st.sampled_from(
        [value for value in wrong if value not in values]
    )


@dataclass
class Key:
    """A key of the config.

    Attributes:
        path: Where it is in the config.
        inside: Values in its range.
        outside: Values that are not.
        follow: Gives the other keys that must follow a value.
    """

    path: str
    inside: st.SearchStrategy
    outside: st.SearchStrategy
    follow: Callable[[object], dict] = lambda value: {}


#: A weight may be any, but beyond float32's square no loss is finite.
WEIGHT = numbers(0, INF, closed_low=True)
WEIGHT = st.floats(0, 1e6), WEIGHT[1]
STD = st.floats(0, 10), WEIGHT[1]
NOT_A_PART = st.sampled_from([3, 'text', True, [1], 0.5])

MOMENTUM = numbers(0, 1, closed_low=True)
#: Of the parts of PseudoLabels.
LABEL_KEYS = dict(
    alignment=dict(
        size=integers(1, 100),
        steps=integers(1, 20),
        strength=numbers(0, 1, closed_low=True, closed_high=True),
        prior=(
            st.none(),
            st.sampled_from([3, True, 'uniform', [1.0], [0.5] * 3, [0, 1]]),
        ),
    ),
    prototypes=dict(
        weight=numbers(0, 1, closed_low=True, closed_high=True),
        momentum=MOMENTUM,
        temperature=(st.floats(1e-3, 1e3), numbers(0, INF)[1]),
    ),
    weights=dict(
        momentum=MOMENTUM,
        sharpness=(st.floats(1e-6, 1e6), numbers(0, INF)[1]),
    ),
)


KEYS = (
    Key(
        'model.head.num_classes',
        *integers(2, 40),
    ),
    Key(
        'model.head.in_channels',
        *integers(1, 40),
        lambda value: {'model.neck.out_channels': value},
    ),
    Key(
        'model.neck.out_channels',
        *integers(1, 40),
        lambda value: {'model.head.in_channels': value},
    ),
    Key('model.neck.in_channels', st.just(WIDTH), integers(1, 2)[1]),
    Key('model.neck.eps', st.floats(1e-12, 10), numbers(0, INF)[1]),
    Key('model.head.threshold', *numbers(0, 1)),
    Key(
        'model.head.logit_scale',
        st.floats(1e-6, 1e4),
        numbers(0, INF)[1],
    ),
    Key(
        'model.head.fairness',
        st.sampled_from([None, dict(type='FairnessLoss')]),
        NOT_A_PART,
    ),
    Key(
        'model.head.fairness.momentum',
        st.floats(1e-6, 1 - 1e-6),
        numbers(0, 1)[1],
        lambda _: {'model.head.fairness.moving_average': True},
    ),
    Key(
        'model.head.fairness.moving_average',
        *choices(None, True, False, wrong=('text', 0.5, [], NAN, 3)),
    ),
    Key('model.head.fairness.loss_weight', *WEIGHT),
    Key('model.align_loss.loss_weight', *WEIGHT),
    Key('model.masking.MaskToken.init_std', *STD),
    Key('model.masking.MaskColour.init_std', *STD),
    Key(
        'model.masking.MaskToken.embed_dims', st.just(WIDTH), integers(1, 2)[1]
    ),
    Key('model.masking.MaskColour.channels', st.just(3), integers(1, 2)[1]),
    Key(
        'model.predict_with',
        *choices('student', 'teacher', wrong=('', None, 3, [], 'both', True)),
    ),
    Key(
        'model.decode',
        *choices('all', 'masked', wrong=('', None, 3, [], 'both', True)),
    ),
    Key(
        'model.masked_view',
        *choices(
            'shared', 'separate', 'off', wrong=('', None, 3, [], 'both', True)
        ),
    ),
    *(
        Key(f'model.pseudo_labels.{part}.{name}', right, wrong)
        for part, keys in LABEL_KEYS.items()
        for name, (right, wrong) in keys.items()
    ),
    Key(
        'model.train_only',
        st.sampled_from(
            [None, ['LayerNorm'], ['head', 'neck.proj'], ('backbone',)]
        ),
        st.sampled_from(['head', 3, [3], ['nothing'], True, 0.5, {}]),
    ),
    Key(
        'model.local_features',
        st.sampled_from([None, 'layers.1']),
        st.sampled_from([3, True, [], 0.5, 'no.module']),
    ),
    *(
        Key(f'model.{part}', st.just(None), NOT_A_PART, follow)
        for part, follow in (
            ('align_loss', lambda _: {}),
            ('masking', lambda _: {}),
            ('start', lambda _: {}),
            ('decoder', lambda value: {'model.mim_head': value}),
            ('mim_head', lambda value: {'model.decoder': value}),
        )
    ),
    Key(
        'model.data_preprocessor.to_rgb',
        *choices(True, False, wrong=(None, 3, 'text')),
    ),
    *(
        Key(
            f'model.data_preprocessor.{name}',
            st.lists(value, min_size=3, max_size=3),
            st.one_of(
                st.sampled_from([3, 'text', [], [1.0], [1.0] * 4, True]),
                st.builds(lambda bad: [1.0, 1.0, bad], wrong),
            ),
        )
        for name, value, wrong in (
            ('mean', st.floats(-1e3, 1e3), numbers(-INF, INF)[1]),
            ('std', st.floats(1e-2, 1e3), numbers(0, INF)[1]),
        )
    ),
    Key(
        'mask.mask_ratio',
        st.floats(0.01, 1, exclude_max=True),
        numbers(0, 1)[1],
    ),
    Key(
        'mask.mask_patch_size',
        st.sampled_from([8, 16, 32]),
        st.one_of(st.sampled_from([5, 12, 64]), integers(1, 2)[1]),
    ),
    Key(
        'mask.model_patch_size',
        st.just(PATCH),
        st.one_of(st.just(5), integers(1, 2)[1]),
    ),
    Key(
        'mask.input_size',
        st.just(SIZE),
        st.one_of(st.just(33), integers(1, 2)[1]),
    ),
    Key(
        'teacher.decay_start',
        *numbers(0, 1, closed_low=True, closed_high=True),
    ),
    Key(
        'teacher.decay_end', *numbers(0, 1, closed_low=True, closed_high=True)
    ),
    Key('teacher.warmup_steps', *integers(0, 10**9)),
    Key('health.interval', *integers(1, 10**9)),
    Key('health.patience', *integers(1, 10**9)),
    Key('health.max_skipped_steps', *integers(1, 10**9)),
    Key('collapse.interval', *integers(1, 10**9)),
    Key('collapse.patience', *integers(1, 10**9)),
    Key('collapse.stop', *choices(True, False, wrong=(None, 3, 'text'))),
    Key(
        'collapse.limits',
        st.sampled_from(
            [None, {}, dict(rank_loss=None), dict(class_growth=(2, 4.5))]
        ),
        st.sampled_from(
            [dict(loss=(1, 2)), dict(rank_loss=3), dict(rank_loss=(NAN, 1))]
        ),
    ),
    Key(
        'compiled.blocks',
        st.sampled_from([[], ['backbone'], ('backbone.layers',)]),
        st.sampled_from([3, 'backbone', [3], None, True]),
    ),
    Key(
        'compiled.options',
        st.sampled_from([None, {}, dict(mode='default')]),
        st.sampled_from([3, 'text', [], True]),
    ),
    Key('weak.size', *integers(1, SIZE)),
    Key(
        'weak.edge',
        st.one_of(st.none(), st.integers(SIZE, 4 * SIZE)),
        integers(SIZE, SIZE)[1].filter(lambda edge: edge is not None),
    ),
    Key('strong.size', *integers(1, 4 * SIZE)),
    Key('strong.flip', *numbers(0, 1, closed_low=True, closed_high=True)),
    Key(
        'strong.share',
        st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
        st.sampled_from([(0, 1), (0.3, 2), (NAN, 1), ('a', 1), (-1, 1)]),
    ),
    *(
        Key(
            f'{view}.interpolation',
            *choices('bicubic', 'bilinear', wrong=('area', None, 3, True)),
        )
        for view in ('weak', 'strong')
    ),
    Key(
        'views.margin', st.floats(1, 1e6), numbers(1, INF, closed_low=True)[1]
    ),
    Key('images.max_bad_images', *integers(0, 10**9)),
    Key(
        'model.head.fairness.prior',
        st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(
            lambda shares: [share / sum(shares) for share in shares]
        ),
        st.sampled_from(
            [3, 'text', True, [], [0.5, 0.5], [1, 0, 0, 0], [0.3] * 4]
            + [[NAN] * 4, ['a'] * 4, [0.5, 0.6, -0.2, 0.1]]
        ),
    ),
    Key('optim_wrapper.paramwise_cfg.head_lr', st.floats(0, 1), WEIGHT[1]),
    Key(
        'optim_wrapper.paramwise_cfg.head_weight_decay',
        st.floats(0, 1),
        WEIGHT[1],
    ),
    Key('schedule.warmup_ratio', *numbers(0, 1, closed_low=True)),
    Key('schedule.begin', *integers(0, 99)),
    Key('schedule.end', *integers(1, 10**6)),
    Key('published_batch', *integers(1, 4096)),
    Key(
        'clip_start.model',
        st.just(None),
        st.sampled_from([3, 'no-such-model', [], True]),
    ),
    Key(
        'clip_start.pretrained',
        st.just(None),
        st.sampled_from([3, 'no-tag', [], True]),
    ),
    Key(
        'clip_start.classes',
        st.just(None),
        st.sampled_from([3, [], [1], ['a', 'a'], 'no_file', True]),
    ),
    Key(
        'clip_start.templates',
        st.just(None),
        st.sampled_from([3, [], [1], ['a {} {}'], 'no_file', True]),
    ),
    Key(
        'clip_start.image_size',
        st.just(None),
        integers(1, 2)[1].filter(lambda v: v is not None),
    ),
    Key(
        'clip_start.allow_duplicates',
        st.just(None),
        st.sampled_from([3, 'text', [], None]),
    ),
    Key('clip_start.cache_dir', st.just(None), st.sampled_from([3, [], True])),
    Key(
        'start.checkpoint', st.just(None), st.sampled_from([3, None, [], True])
    ),
    Key(
        'start.classes',
        st.just(None),
        st.sampled_from([3, [], [1], ['a', 'a'], 'no_file']),
    ),
    Key(
        'start.class_map',
        st.just(None),
        st.sampled_from(
            [
                3,
                'text',
                [1],
                {},
                {'a': []},
                {'a': 3},
                {'a': [1.5]},
                {'a': [-1]},
                {'b': [1]},
            ]
        ),
    ),
)

PARTS = dict(
    mask=dict(
        type='MUSTMaskGenerator',
        input_size=SIZE,
        mask_patch_size=16,
        model_patch_size=PATCH,
        mask_ratio=0.3,
    ),
    teacher=dict(
        type='EMATeacherHook', decay_start=0.5, decay_end=0.9, warmup_steps=4
    ),
    health=dict(type='HealthHook'),
    collapse=dict(type='CollapseHook'),
    compiled=dict(type='CompileBlocksHook'),
    weak=dict(type='EdgeCrop', size=SIZE, edge=SIZE),
    strong=dict(type='AreaCrop', size=SIZE),
    views=dict(type='CropViews', transforms=[]),
    images=dict(
        type='SkipBadImages', dataset='CustomDataset', data_root='none',
        lazy_init=True,
    ),
    schedule=dict(
        type='WarmupCosineLR', warmup_ratio=0.1, begin=0, end=100,
        by_epoch=False,
    ),
    start=dict(
        type='ClassifierStart', checkpoint='none.pth', classes=['a'],
        class_map=dict(a=[0]),
    ),
)  # fmt: skip


def base_config() -> Config:
    """The tiny config, with every part that has keys of ours."""
    folder = Path('none')
    cfg = tiny_config(folder, folder)
    for name, part in PARTS.items():
        cfg[name] = part
    cfg.model.data_preprocessor.update(mean=[120.0] * 3, std=[60.0] * 3)
    cfg.model.pseudo_labels = {part: {} for part in LABEL_KEYS}
    cfg.published_batch = 1024
    return cfg


def apply(cfg: Config, path: str, value: object) -> None:
    """Set a key; some need a part of their own."""
    *parents, name = path.split('.')
    if path.startswith('model.masking.Mask'):
        kind = parents.pop()
        parts = dict(MaskToken=dict(embed_dims=WIDTH), MaskColour=dict())
        cfg.model.masking = dict(type=kind, **parts[kind])
    if path.startswith('optim_wrapper.'):
        cfg.optim_wrapper.constructor = 'HeadAndLayerDecayConstructor'
    target = cfg
    for parent in parents:
        target = target[parent]
    target[name] = value


def build_all(cfg: Config) -> tuple:
    """Build what the config describes, as a run would."""
    follow_batch(cfg, 1)
    if 'clip_start' in cfg:
        TASK_UTILS.build(cfg.clip_start)
    if cfg.start.checkpoint != PARTS['start']['checkpoint'] or (
        cfg.start != PARTS['start']
    ):
        TASK_UTILS.build(cfg.start)
    mask = TRANSFORMS.build(cfg.mask)
    teacher = HOOKS.build(cfg.teacher)
    HOOKS.build(cfg.health)
    HOOKS.build(cfg.collapse)
    HOOKS.build(cfg.compiled)
    image = np.zeros((SIZE + 5, SIZE, 3), np.uint8)
    for crop in (cfg.weak, cfg.strong):
        TRANSFORMS.build(crop).transform(dict(img=image))
    TRANSFORMS.build(cfg.views)
    DATASETS.build(cfg.images)
    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    schedule = PARAM_SCHEDULERS.build(
        cfg.schedule, default_args=dict(optimizer=optimizer)
    )
    return mask, teacher, model, optimizer, schedule


def step(mask, teacher, model, optimizer: OptimWrapper, schedule) -> dict:
    """One training step on random images; returns the losses."""
    views = [torch.randint(0, 256, (BATCH, 3, SIZE, SIZE)) for _ in range(2)]
    samples = [
        DataSample(mask=torch.from_numpy(mask.transform({})['mask']))
        for _ in range(BATCH)
    ]
    data = dict(inputs=[view.float() for view in views], data_samples=samples)
    losses = model.train().train_step(data, optimizer)
    ema_update(
        *zip(*model.teacher_and_student(), strict=True), teacher.decay()
    )
    schedule.step()
    return losses


def check_inside(key: Key, value: object) -> str | None:
    """Take one step with a value in its range; return what is wrong."""
    cfg = base_config()
    apply(cfg, key.path, value)
    for path, other in key.follow(value).items():
        apply(cfg, path, other)
    try:
        losses = step(*build_all(cfg))
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    for name, loss in losses.items():
        if not torch.as_tensor(loss).isfinite().all():
            return f'{name} is {loss}'
    return None


def check_outside(key: Key, value: object) -> str | None:
    """Build with a value out of its range; return what is wrong."""
    cfg = base_config()
    if key.path.startswith('clip_start.'):
        cfg.clip_start = dict(
            type='OpenCLIPStart',
            model='ViT-B-16',
            pretrained='openai',
            classes=list(CLASSES),
            templates=['a {}.'],
        )
    apply(cfg, key.path, value)
    try:
        parts = build_all(cfg)
        if key.path == 'model.local_features':
            step(*parts)  # the module is looked for when it is run
    except (ValueError, TypeError, FileNotFoundError) as error:
        name = key.path.split('.')[-1]
        return None if name in str(error) else f'names no {name}: {error}'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return 'taken, though out of range'


INSIDE = [key for key in KEYS if 'start.' not in key.path]


@st.composite
def cases(draw) -> tuple[Key, bool, object]:
    """A key, a side, a value."""
    outside = draw(st.booleans())
    key = draw(st.sampled_from(KEYS if outside else INSIDE))
    return key, outside, draw(key.outside if outside else key.inside)


def fuzz(count: int, number: int = 0) -> tuple[Counter, list[str]]:
    """Try configs.

    Args:
        count: How many.
        number: Seed.

    Returns:
        How many values were tried, by key and side; and the faults.
    """
    tried, faults = Counter(), []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def run(case):
        key, outside, value = case
        fault = (check_outside if outside else check_inside)(key, value)
        tried[key.path, outside] += 1
        if fault:
            faults.append(f'{key.path}={value!r}: {fault}')

    run()
    return tried, faults


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=2000)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    init_default_scope('mmpretrain')
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    tried, faults = fuzz(args.count, args.seed)
    for key in KEYS:
        print(
            f'{key.path:43} {tried[key.path, False]:4} in range, '
            f'{tried[key.path, True]:4} out of it'
        )
    for fault in faults[:50]:
        print(f'FAULT {fault[:300]}')
    print(f'{tried.total()} configs, {len(faults)} faults')
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
