"""One training step, as must_mm takes it and written plainly."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.runner import get_priority
from mmpretrain.models.utils.attention import (
    MultiheadAttention,
    scaled_dot_product_attention_pyimpl,
)
from mmpretrain.registry import HOOKS, MODELS

import benchmarks.levers  # noqa: F401  registers the slow model
from benchmarks.plain_must import PlainMUST, PlainStep
from benchmarks.random_views import random_batch
from must_mm.runs.arguments import without_start
from must_mm.utils.paths import config_path

CONFIGS = {
    'ViT-B-32': 'must/vit-b32_imagenet.py',
    'ViT-B-16': 'must/vit-b16_imagenet.py',
    'ViT-L-14': 'must/vit-l14_imagenet.py',
    'quickstart': 'must/quickstart_digits.py',
}
LOG_INTERVAL = 50
IN_A_STEP = (
    'HealthHook',
    'EMATeacherHook',
    'CompileBlocksHook',
    'RecomputeBlocksHook',
)

Step = Callable[[], object]


def read_config(model: str, image: int | None, classes: int | None) -> Config:
    """Read the recipe of a model, for other sizes than its own."""
    cfg = without_start(Config.fromfile(config_path(CONFIGS[model])))
    if image:
        cfg.model.backbone.img_size = image
        for step in cfg.train_dataloader.dataset.pipeline:
            if step.type == 'MUSTMaskGenerator':
                step.input_size = image
    if classes:
        cfg.model.head.num_classes = classes
    cfg.attention = 'sdpa'
    # a lever like any other, see levers.compiled
    cfg.custom_hooks = [
        hook for hook in cfg.custom_hooks if hook.type != 'CompileBlocksHook'
    ]
    return cfg


def ours(
    cfg: Config, batch: int, amp: torch.dtype | None, device: str
) -> Step:
    """Build a step as MMEngine's training loop takes it.

    Forward, backward, optimizer, teacher, health and scalars, with the hooks
    of the config; no data loader, no validation, no checkpoint.
    """
    MMLogger.get_instance('benchmark', log_level='WARNING')
    cfg = Config(cfg.to_dict())
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model = model.to(device).train()
    if cfg.attention == 'eager':
        _use_eager_attention(model)
    kind = 'AutocastOptimWrapper' if amp else 'OptimWrapper'
    cfg.optim_wrapper.type = kind
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    configs = [
        cfg.default_hooks.runtime_info,
        *(hook for hook in cfg.custom_hooks if hook.type in IN_A_STEP),
    ]
    hooks = [HOOKS.build(hook) for hook in configs]
    hooks.sort(key=lambda hook: get_priority(hook.priority))
    runner = _stand_in(model, wrapper, batch)
    for hook in hooks:
        hook.before_train(runner)
    data = _batch(cfg, batch, device)

    def step() -> dict:
        outputs = model.train_step(data, wrapper)
        for hook in hooks:
            hook.after_train_iter(
                runner, runner.iter % LOG_INTERVAL, data, outputs
            )
        runner.iter += 1
        return outputs

    return step


class _Epoch:
    """A data loader as far as hooks look at it."""

    dataset = SimpleNamespace(metainfo={})

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __len__(self) -> int:
        return LOG_INTERVAL


def _stand_in(model: torch.nn.Module, wrapper, batch: int) -> SimpleNamespace:
    """What the hooks above ask of a runner."""
    iterations = 10**6
    folder = tempfile.TemporaryDirectory(prefix='must_mm_benchmark_')
    wrapper.initialize_count_status(model, 0, iterations)
    quiet = SimpleNamespace(info=lambda _: None, warning=lambda _: None)
    hub = MessageHub.get_instance(f'benchmark-{time.time_ns()}')
    return SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        message_hub=hub,
        # scalars are read as often as the log of a recipe wants them
        hooks=[LoggerHook(interval=LOG_INTERVAL)],
        iter=0,
        epoch=0,
        max_iters=iterations,
        max_epochs=1,
        _resume=False,
        train_dataloader=_Epoch(batch),
        train_loop=SimpleNamespace(stop_training=False),
        logger=quiet,
        cfg=Config(),
        timestamp='',
        folder=folder,  # goes with the runner
        work_dir=folder.name,
    )


def _use_eager_attention(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            module.scaled_dot_product_attention = (
                scaled_dot_product_attention_pyimpl
            )


def _batch(cfg: Config, batch: int, device: str) -> dict:
    """Make labelled views as a data loader gives them: bytes, on the host."""
    generator = torch.Generator().manual_seed(0)
    size = cfg.model.backbone.img_size
    _, samples = random_batch(cfg, size, batch)
    for number, sample in enumerate(samples):
        sample.set_gt_label(number % cfg.model.head.num_classes)
    views = [
        torch.randint(0, 256, (batch, 3, size, size), generator=generator).to(
            torch.uint8
        )
        for _ in range(2)
    ]
    if device == 'cuda':  # as train_dataloader.pin_memory
        views = [view.pin_memory() for view in views]
    return dict(inputs=views, data_samples=samples)


def plain(
    cfg: Config, batch: int, amp: torch.dtype | None, device: str
) -> Step:
    """Build the plain step on the same sizes; views come normalised."""
    data = _batch(cfg, batch, device)
    samples = data['data_samples']
    # nothing but what the step needs is built: memory is measured
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    weak, strong = (
        view.to(device) for view in preprocessor(data, training=True)['inputs']
    )
    mask = torch.stack([sample.mask for sample in samples]).float().to(device)
    step = PlainStep(
        plain_student(cfg).to(device),
        threshold=cfg.model.head.threshold,
        w_align=cfg.model.align_loss.loss_weight,
        w_fair=cfg.model.head.fairness.loss_weight,
        autocast=amp,
    )
    return partial(step, weak, strong, mask)


def plain_student(cfg: Config) -> PlainMUST:
    """Build the plain student of a config's sizes."""
    with torch.device('meta'):  # for its sizes alone
        backbone = MODELS.build(cfg.model.backbone)
    return PlainMUST(
        image=cfg.model.backbone.img_size,
        patch=cfg.model.backbone.patch_size,
        width=backbone.embed_dims,
        layers=len(backbone.layers),
        heads=backbone.layers[0].attn.num_heads,
        embed=cfg.model.neck.out_channels,
        classes=cfg.model.head.num_classes,
    )
