"""Time a training step beside a plain one, in one process."""

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import get_priority, turn_on_activation_checkpointing
from mmpretrain.models.utils.attention import (
    MultiheadAttention,
    scaled_dot_product_attention_pyimpl,
)
from mmpretrain.registry import HOOKS, MODELS
from torch.profiler import ProfilerActivity, profile

from must_mm.analysis.command import without_start
from must_mm.analysis.random_views import random_batch
from must_mm.analysis.scaling import step_cost
from must_mm.configs import config_path

from .machine import has_bfloat16, processor, versions
from .plain_must import PlainMUST, PlainStep

CONFIGS = {
    'ViT-B-32': 'must/vit-b32_imagenet.py',
    'ViT-B-16': 'must/vit-b16_imagenet.py',
    'ViT-L-14': 'must/vit-l14_imagenet.py',
    'quickstart': 'must/quickstart_digits.py',
}
AMP = {'none': None, 'bfloat16': torch.bfloat16}
LOG_INTERVAL = 50
IN_A_STEP = ('HealthHook', 'EMATeacherHook', 'CompileBlocksHook')

Step = Callable[[], object]


# ---------------------------------------------------------------- the levers
# Each takes the config from its slow form to its fast one. "slow" undoes all.


def slow(cfg: Config) -> None:
    """Turn every lever off."""
    cfg.model.decode = 'all'
    cfg.model.teacher_inference_mode = False
    cfg.optim_wrapper.optimizer.fused = False
    cfg.custom_hooks[0].foreach = False
    _health(cfg).interval = 1
    cfg.default_hooks.runtime_info = dict(type='RuntimeInfoHook')
    cfg.attention = 'eager'


def masked_decoding(cfg: Config) -> None:
    cfg.model.decode = 'masked'


def inference_mode(cfg: Config) -> None:
    cfg.model.teacher_inference_mode = True


def fused_adamw(cfg: Config) -> None:
    cfg.optim_wrapper.optimizer.fused = True


def foreach_ema(cfg: Config) -> None:
    cfg.custom_hooks[0].foreach = True


def late_scalars(cfg: Config) -> None:
    _health(cfg).interval = 10
    cfg.default_hooks.runtime_info = dict(type='LateRuntimeInfoHook')


def sdpa(cfg: Config) -> None:
    cfg.attention = 'sdpa'


def compiled(cfg: Config) -> None:
    cfg.custom_hooks.append(dict(type='CompileBlocksHook'))


def checkpointing(cfg: Config) -> None:
    cfg.activation_checkpointing = [
        f'backbone.layers.{number}' for number in range(_layers(cfg))
    ]


DEFAULT_LEVERS = {
    'SDPA': sdpa,
    'fused AdamW': fused_adamw,
    'EMA in one call': foreach_ema,
    'teacher in inference mode': inference_mode,
    'scalars read late': late_scalars,
    'decoder on masked patches': masked_decoding,
}
OPTIONAL_LEVERS = {
    'compiled blocks': compiled,
    'activation checkpointing': checkpointing,
}


def _health(cfg: Config) -> dict:
    return next(h for h in cfg.custom_hooks if h.type == 'HealthHook')


def _layers(cfg: Config) -> int:
    arch = cfg.model.backbone.arch
    if isinstance(arch, str):
        return len(MODELS.build(cfg.model.backbone).layers)
    return arch.num_layers


# -------------------------------------------------------------- the contenders


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
    if cfg.get('activation_checkpointing'):
        turn_on_activation_checkpointing(model, cfg.activation_checkpointing)
    kind = 'AutocastOptimWrapper' if amp else 'OptimWrapper'
    cfg.optim_wrapper.type = kind
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    configs = [
        cfg.default_hooks.get('runtime_info', dict(type='RuntimeInfoHook')),
        *(hook for hook in cfg.custom_hooks if hook.type in IN_A_STEP),
    ]
    hooks = [HOOKS.build(hook) for hook in configs]
    hooks.sort(key=lambda hook: get_priority(hook.priority))
    runner = _stand_in(model, wrapper)
    for hook in hooks:
        hook.before_train(runner)
    data = _batch(cfg, batch)

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

    def __len__(self) -> int:
        return LOG_INTERVAL


def _stand_in(model: torch.nn.Module, wrapper) -> SimpleNamespace:
    """What the hooks above ask of a runner."""
    iterations = 10**6
    wrapper.initialize_count_status(model, 0, iterations)
    quiet = SimpleNamespace(info=lambda _: None, warning=lambda _: None)
    hub = MessageHub.get_instance(f'benchmark-{time.time_ns()}')
    return SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        message_hub=hub,
        hooks=[],
        iter=0,
        epoch=0,
        max_iters=iterations,
        max_epochs=1,
        _resume=False,
        train_dataloader=_Epoch(),
        train_loop=SimpleNamespace(stop_training=False),
        logger=quiet,
        cfg=Config(),
        timestamp='',
    )


def _use_eager_attention(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            module.scaled_dot_product_attention = (
                scaled_dot_product_attention_pyimpl
            )


def _batch(cfg: Config, batch: int) -> dict:
    """Make views as a data loader gives them: eight bits, on the host."""
    generator = torch.Generator().manual_seed(0)
    size = cfg.model.backbone.img_size
    _, samples = random_batch(cfg, size, batch)
    views = [
        torch.randint(0, 256, (batch, 3, size, size), generator=generator).to(
            torch.uint8
        )
        for _ in range(2)
    ]
    return dict(inputs=views, data_samples=samples)


def plain(
    cfg: Config, batch: int, amp: torch.dtype | None, device: str
) -> Step:
    """Build the plain step on the same sizes; views come normalised."""
    model = MODELS.build(cfg.model)
    data = _batch(cfg, batch)
    samples = data['data_samples']
    weak, strong = (
        view.to(device)
        for view in model.data_preprocessor(data, training=True)['inputs']
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


# ------------------------------------------------------------------ measuring


def wait(device: str) -> None:
    """Wait until the device has finished."""
    if device == 'cuda':
        torch.cuda.synchronize()


def time_in_turn(
    steps: Sequence[Step], rounds: int, repeat: int, device: str
) -> list[list[float]]:
    """Seconds a step of each contender, in every round, one after another."""
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, seconds in zip(steps, found, strict=True):
            wait(device)
            start = time.perf_counter()
            for _ in range(repeat):
                step()
            wait(device)
            seconds.append((time.perf_counter() - start) / repeat)
    return found


def _peak_of_child(make: Callable[[], Step], threads: int, queue) -> None:
    torch.set_num_threads(threads)
    init_default_scope('mmpretrain')
    step = make()
    for _ in range(2):
        step()
    # not ru_maxrss, which begins with that of the parent
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM'):
            queue.put(1024 * int(line.split()[1]))


def peak_memory(make: Callable[[], Step], args: argparse.Namespace) -> float:
    """Largest memory of two steps in bytes, or NaN if it is not wanted.

    On a GPU what tensors took, on a CPU (Linux) the whole process, a fresh
    one.
    """
    if args.no_memory:
        return float('nan')
    if args.device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step = make()
        for _ in range(2):
            step()
        return torch.cuda.max_memory_allocated() - before
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    child = context.Process(
        target=_peak_of_child, args=(make, torch.get_num_threads(), queue)
    )
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(
            f'the process that measures memory ended with {child.exitcode}'
        )
    return queue.get()


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    size = 8192 if device == 'cuda' else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    (seconds,) = time_in_turn([lambda: a @ a], 5, 3, device)
    return 2 * size**3 / min(seconds[1:])


# ------------------------------------------------------------------ the tables


def compare(args: argparse.Namespace) -> str:
    """Format the contenders side by side, as a Markdown table."""
    cfg = read_config(args.model, args.image, args.classes)
    amp = AMP[args.amp]
    fast = Config(cfg.to_dict())
    for lever in (*DEFAULT_LEVERS.values(), *args.extra):
        lever(fast)
    makers = {'plain, float32': partial(plain, cfg, args.batch, None)}
    if amp:
        name = f'plain, autocast to {args.amp}'
        makers[name] = partial(plain, cfg, args.batch, amp)
    makers[f'must_mm, {args.amp if amp else "float32"}'] = partial(
        ours, fast, args.batch, amp
    )
    makers = {
        name: partial(make, args.device) for name, make in makers.items()
    }
    peaks = [peak_memory(make, args) for make in makers.values()]
    steps = [make() for make in makers.values()]
    time_in_turn(steps, 1, args.warmup, args.device)
    seconds = time_in_turn(steps, args.rounds, args.repeat, args.device)
    flops = step_cost(cfg, cfg.model.backbone.img_size).flops
    rate = matrix_rate(args.device, amp or torch.float32)
    lines = [
        '| version | images/s | ratio to plain (min–max) | peak memory (GB) '
        '| ratio | share of the matrix rate |',
        '|---|---|---|---|---|---|',
    ]
    for name, found, peak in zip(makers, seconds, peaks, strict=True):
        images = args.batch / statistics.median(found)
        lines.append(
            f'| {name} | {images:.3g} | {ratio(seconds[0], found)} | '
            f'{peak / 1e9:.2f} | {peak / peaks[0]:.2f} | '
            f'{images * flops / rate:.0%} |'
        )
    kind = args.amp if amp else 'float32'
    lines.append(
        f'\n{flops / 1e9:.1f} GFLOP an image; {rate / 1e12:.3g} TFLOP/s in '
        f'a {kind} matrix product'
    )
    return '\n'.join(lines)


def each_lever(args: argparse.Namespace) -> str:
    """Format what each lever brings alone, as a Markdown table."""
    base = read_config(args.model, args.image, args.classes)
    slow(base)
    amp = AMP[args.amp]
    make = partial(ours, base, args.batch, amp, args.device)
    base_peak = peak_memory(make, args)
    reference = make()
    lines = [
        '| lever | speed (min–max) | peak memory |',
        '|---|---|---|',
    ]
    combined = Config(base.to_dict())
    levers = dict(DEFAULT_LEVERS)
    if not args.without_optional:
        levers |= OPTIONAL_LEVERS
    configs = {}
    for name, lever in levers.items():
        configs[name] = Config(base.to_dict())
        lever(configs[name])
        if name in DEFAULT_LEVERS:
            lever(combined)
    last = 'all' if args.without_optional else 'all but these two'
    configs[last] = combined
    for name, cfg in configs.items():
        make = partial(ours, cfg, args.batch, amp, args.device)
        peak = peak_memory(make, args)
        steps = [reference, make()]
        time_in_turn(steps, 1, args.warmup, args.device)
        seconds = time_in_turn(steps, args.rounds, args.repeat, args.device)
        lines.append(
            f'| {name} | {ratio(*seconds)} | {peak / base_peak:.2f} |'
        )
        del steps
    return '\n'.join(lines)


def ratio(reference: list[float], found: list[float]) -> str:
    """Speed over the reference's: median, and range over the rounds."""
    ratios = [a / b for a, b in zip(reference, found, strict=True)]
    return (
        f'{statistics.median(ratios):.2f} '
        f'({min(ratios):.2f}–{max(ratios):.2f})'
    )


def show_profile(args: argparse.Namespace) -> str:
    """Format where the time of our step goes, operation by operation."""
    cfg = read_config(args.model, args.image, args.classes)
    for lever in (*DEFAULT_LEVERS.values(), *args.extra):
        lever(cfg)
    step = ours(cfg, args.batch, AMP[args.amp], args.device)
    for _ in range(args.warmup):
        step()
    activities = [ProfilerActivity.CPU]
    if args.device == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        for _ in range(args.repeat):
            step()
        wait(args.device)
    table = found.key_averages().table(
        sort_by=f'self_{args.device}_time_total', row_limit=20
    )
    return str(table)


def describe(device: str) -> str:
    """Say what is measured on, and with which versions."""
    if device == 'cuda':
        machine = torch.cuda.get_device_name()
    else:
        machine = (
            f'{processor()}, {"with" if has_bfloat16() else "without"} '
            f'instructions for bfloat16, {torch.get_num_threads()} threads'
        )
    packages = ('torch', 'mmpretrain', 'mmengine', 'onedl-mmpretrain')
    return f'{machine}; {versions(*packages, "onedl-mmengine")}'


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/benchmark.py step``."""
    parser = argparse.ArgumentParser(
        prog='benchmark.py step', description=__doc__
    )
    parser.add_argument('--model', choices=CONFIGS, default='ViT-B-16')
    parser.add_argument('--image', type=int, help='side of the views')
    parser.add_argument('--classes', type=int, help='number of classes')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--amp', choices=AMP, default='none')
    parser.add_argument(
        '--device',
        choices=['cpu', 'cuda'],
        default='cuda' if torch.cuda.is_available() else 'cpu',
    )
    parser.add_argument('--threads', type=int, help='of a CPU')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--repeat', type=int, default=2, help='steps in a round'
    )
    parser.add_argument('--warmup', type=int, default=2, help='steps before')
    parser.add_argument(
        '--compile', action='store_true', help='compile the blocks, too'
    )
    parser.add_argument(
        '--checkpointing',
        action='store_true',
        help='recompute activations, too',
    )
    parser.add_argument(
        '--levers',
        action='store_true',
        help='measure each lever alone instead',
    )
    parser.add_argument(
        '--without-optional',
        action='store_true',
        help='with --levers: leave out what recipes do not use',
    )
    parser.add_argument(
        '--profile',
        action='store_true',
        help='show where the time goes instead',
    )
    parser.add_argument(
        '--no-memory',
        action='store_true',
        help='leave memory out: on a CPU it takes a process each',
    )
    args = parser.parse_args(argv)
    for name in ('batch', 'rounds', 'repeat', 'warmup'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope('mmpretrain')
    args.extra = [
        lever
        for lever, wanted in (
            (compiled, args.compile),
            (checkpointing, args.checkpointing),
        )
        if wanted
    ]
    print(describe(args.device))
    if args.profile:
        report = show_profile
    else:
        report = each_lever if args.levers else compare
    with contextlib.suppress(BrokenPipeError):
        print(report(args))
