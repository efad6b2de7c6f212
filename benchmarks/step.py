"""Time a training step beside a plain one, in one process."""

import argparse
import contextlib
import gc
import statistics
from functools import partial

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import CONFIGS, ours, plain, read_config
from benchmarks.launches import count_operations
from benchmarks.levers import (
    DEFAULT_LEVERS,
    OPTIONAL_LEVERS,
    checkpointing,
    compiled,
    slow,
)
from benchmarks.machine import processor, versions
from benchmarks.measure import matrix_rate, peak_memory, time_in_turn, wait
from benchmarks.scaling import step_cost
from must_mm.engine.autocast import cpu_has_bfloat16

AMP = {'none': None, 'bfloat16': torch.bfloat16}


def fast_config(args: argparse.Namespace) -> Config:
    """Read a recipe, with all levers that are wanted."""
    cfg = read_config(args.model, args.image, args.classes)
    for lever in (*DEFAULT_LEVERS.values(), *args.extra):
        lever(cfg)
    return cfg


def compare(args: argparse.Namespace) -> str:
    """Format the contenders side by side, as a Markdown table."""
    cfg = fast_config(args)
    amp = AMP[args.amp]
    makers = {'plain, float32': partial(plain, cfg, args.batch, None)}
    if amp:
        name = f'plain, autocast to {args.amp}'
        makers[name] = partial(plain, cfg, args.batch, amp)
    makers[f'must_mm, {args.amp if amp else "float32"}'] = partial(
        ours, cfg, args.batch, amp
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
    kind = args.amp if amp else 'float32'
    lines = [
        '| version | images/s | ratio to plain (min–max) '
        '| to plain autocast | peak memory (GB) | ratio '
        '| share of the matrix rate |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, found, peak in zip(makers, seconds, peaks, strict=True):
        images = args.batch / statistics.median(found)
        share = f'{images * flops / rate:.0%}' if kind in name else '–'
        autocast = ratio(seconds[1], found) if amp else '–'
        lines.append(
            f'| {name} | {images:.3g} | {ratio(seconds[0], found)} | '
            f'{autocast} | {peak / 1e9:.2f} | {peak / peaks[0]:.2f} | '
            f'{share} |'
        )
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
        gc.collect()  # models hold themselves in circles
    return '\n'.join(lines)


def count_launches(args: argparse.Namespace) -> str:
    """Format how many operations a step dispatches, lever by lever.

    Exact on any device; the memory is the allocator's, on a GPU alone.
    """
    base = read_config(args.model, args.image, args.classes)
    slow(base)
    amp = AMP[args.amp]
    configs = {'none of the levers': base}
    combined = Config(base.to_dict())
    for name, lever in DEFAULT_LEVERS.items():
        configs[name] = Config(base.to_dict())
        lever(configs[name])
        lever(combined)
    configs['all of them'] = combined
    lines = ['| lever | operations of a step |', '|---|---|']
    for name, cfg in configs.items():
        step = ours(cfg, args.batch, amp, args.device)
        lines.append(f'| {name} | {count_operations(step)} |')
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
    cfg = fast_config(args)
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
        tf32 = {
            'matrix products': torch.backends.cuda.matmul.allow_tf32,
            'convolutions': torch.backends.cudnn.allow_tf32,
        }
        allowed = ' and '.join(name for name, on in tf32.items() if on)
        machine = (
            f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, '
            f'TF32 in {allowed or "nothing"}'
        )
    else:
        machine = (
            f'{processor()}, {"with" if cpu_has_bfloat16() else "without"} '
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
        '--repeat', type=int, help='steps in a round: 2, on a GPU 50'
    )
    parser.add_argument(
        '--warmup', type=int, help='steps before: 2, on a GPU 10'
    )
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
        '--launches',
        action='store_true',
        help='count the operations of a step instead, lever by lever',
    )
    parser.add_argument(
        '--no-memory',
        action='store_true',
        help='leave memory out: on a CPU it takes a process each',
    )
    args = parser.parse_args(argv)
    # a GPU runs behind: a round must be long enough for that to show
    defaults = (50, 10) if args.device == 'cuda' else (2, 2)
    for name, value in zip(('repeat', 'warmup'), defaults, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name in ('batch', 'rounds', 'repeat', 'warmup', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} must be at least 1')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU here')
    if args.levers and (args.compile or args.checkpointing):
        parser.error(
            '--levers measures --compile and --checkpointing anyway: leave '
            'them out'
        )
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
    elif args.launches:
        report = count_launches
    else:
        report = each_lever if args.levers else compare
    with contextlib.suppress(BrokenPipeError):
        print(report(args))
