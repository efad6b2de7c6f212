"""What a training costs on many GPUs.

The costs of one image (operations, bytes kept for the backward pass) are
counted on a real step of the config's model; the rest is arithmetic.
"""

from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from benchmarks.random_views import random_batch
from benchmarks.two_processes import Measured, measure_two
from must_mm.models.must import MUST
from must_mm.runs import arguments

FLOAT = 4  # bytes
aten = torch.ops.aten


def _attention(query, key, value, *_args, out_shape=None, **_kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad, query, key, value, *_args, out_shape=None, **_kwargs
) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


#: Attention as a CPU runs it, which torch's counter does not know.
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
}


@dataclass(frozen=True)
class StepCost:
    """What one training step of a model needs.

    Attributes:
        params: Parameters of the whole model, teacher included.
        trained: Parameters that get a gradient.
        classes: Number of classes.
        flops: Operations of one image, a multiply-add counted as two:
            teacher forward, student forward and backward.
        activations: Bytes kept for the backward pass, for each image.
        casts: Bytes kept for any number of images: weights in the precision
            of autocast.
    """

    params: int
    trained: int
    classes: int
    flops: float
    activations: float
    casts: float

    def memory(self, batch: int, gpus: int) -> float:
        """Bytes on one GPU, without what the library itself takes.

        Weights, gradients, the two moments of AdamW, the buckets in which
        several processes exchange gradients, and the activations.

        Args:
            batch: Images per GPU.
            gpus: Number of GPUs.
        """
        buckets = self.trained if gpus > 1 else 0
        numbers = self.params + 3 * self.trained + buckets
        return FLOAT * numbers + self.casts + batch * self.activations

    def network(self, gpus: int) -> float:
        """Bytes that each GPU sends in one optimizer step.

        An all-reduce of the gradients, ``2 (n - 1) / n`` of their size, and
        the gather of the fairness loss, forward and backward.

        Args:
            gpus: Number ``n`` of GPUs.
        """
        reduced = 2 * (gpus - 1) / gpus * FLOAT * self.trained
        gathered = 2 * (gpus - 1) * FLOAT * self.classes
        return reduced + gathered


def kept_for_backward(
    model: MUST, views: list[torch.Tensor], samples: list[DataSample]
) -> tuple[torch.Tensor, int]:
    """Run the forward pass and count what it keeps.

    Returns:
        The loss, and the bytes of the distinct tensors that the backward
        pass reads, parameters and buffers left out.
    """
    own = {
        tensor.untyped_storage().data_ptr()
        for tensor in (*model.parameters(), *model.buffers())
    }
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            # the tensor is held, so that no other gets its address
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model.loss(views, samples)
    loss = sum(value for name, value in losses.items() if 'loss' in name)
    return loss, sum(nbytes for nbytes, _ in kept.values())


def step_cost(
    cfg: Config, size: int, batch: int = 1, amp: bool = False
) -> StepCost:
    """Count the cost of a step on this machine, whatever it is.

    Args:
        cfg: Config of a MUST run; its start is not read.
        size: Side of the views in pixels.
        batch: Images of the counted step, and then twice as many.
        amp: Whether to count under bfloat16 autocast.
    """
    init_default_scope('mmpretrain')
    model = MODELS.build(arguments.without_start(cfg).model).train()
    kept = []
    for images in (batch, 2 * batch):
        views, samples = random_batch(cfg, size, images)
        counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
        with counter:
            with torch.autocast('cpu', torch.bfloat16, enabled=amp):
                loss, nbytes = kept_for_backward(model, views, samples)
            loss.backward()
        kept.append(nbytes)
    activations = (kept[1] - kept[0]) / batch
    return StepCost(
        params=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        classes=model.head.num_classes,
        flops=counter.get_total_flops() / (2 * batch),
        activations=activations,
        casts=kept[0] - batch * activations,
    )


def table(
    cost: StepCost,
    gpus: list[int],
    images: list[float],
    epochs: int,
    batch: int,
    tflops: float,
    image_kb: float,
    gbit: float,
) -> str:
    """Format the plan of a training as a Markdown table.

    Times are those of the arithmetic alone; exchange of gradients overlaps
    with the backward pass and is shown beside it.

    Args:
        cost: Cost of a step.
        gpus: Numbers of GPUs.
        images: Sizes of the training set.
        epochs: Passes over the data.
        batch: Images per GPU.
        tflops: Rate that one GPU reaches in training, in 10^12 operations a
            second: its peak times the share that is reached.
        image_kb: Size of one image file in kB (1000 bytes).
        gbit: Bandwidth of one GPU to the others, in Gbit/s.
    """
    rate = tflops * 1e12 / cost.flops  # images/s/GPU
    sizes = [f'{n / 1e6:g} M images, {epochs} epochs (h)' for n in images]
    lines = [
        '| GPUs | memory per GPU (GB) | images/s | from storage (MB/s) | '
        'step (ms) | exchange in a step (ms) | ' + ' | '.join(sizes) + ' |',
        '|' + '---|' * (6 + len(sizes)),
    ]
    for n in gpus:
        hours = [count * epochs / (n * rate) / 3600 for count in images]
        cells = [
            f'{n}',
            f'{cost.memory(batch, n) / 1e9:.1f}',
            f'{n * rate:.0f}',
            f'{n * rate * image_kb / 1e3:.0f}',
            f'{1e3 * batch / rate:.0f}',
            f'{1e3 * 8 * cost.network(n) / (gbit * 1e9):.1f}',
            *(f'{h:.3g}' for h in hours),
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def check(cfg: Config, size: int, batch: int) -> str:
    """Compare the counts with two processes of this machine, as a table.

    Args:
        cfg: Config of a MUST run.
        size: Side of the views in pixels.
        batch: Images per process; memory is compared with twice as many.
    """
    cost = step_cost(cfg, size)
    small, large = (
        measure_two(cfg, size, images) for images in (batch, 2 * batch)
    )
    rows = {
        'bytes sent by a process in a step': (
            cost.network(Measured.processes),
            small.network,
        ),
        'memory of an image more (bytes)': (
            cost.activations,
            (large.memory - small.memory) / batch,
        ),
    }
    lines = ['| | counted | measured | ratio |', '|---|---|---|---|']
    lines += [
        f'| {name} | {ours:.4g} | {found:.4g} | {found / ours:.3f} |'
        for name, (ours, found) in rows.items()
    ]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/benchmark.py scaling``."""
    parser = arguments.parser('What a training costs on many GPUs.')
    parser.add_argument(
        '--size',
        type=arguments.positive,
        help="side of the views; the config's by default",
    )
    parser.add_argument(
        '--gpus', type=arguments.positive, nargs='+', default=[1, 8, 64]
    )
    parser.add_argument(
        '--images', type=float, nargs='+', default=[1e6, 1e7, 1e8]
    )
    parser.add_argument(
        '--batch', type=arguments.positive, default=64, help='per GPU'
    )
    parser.add_argument(
        '--tflops',
        type=float,
        default=100,
        help='rate that one GPU reaches, 10^12 operations a second',
    )
    parser.add_argument(
        '--image-kb', type=float, default=110, help='size of a file'
    )
    parser.add_argument(
        '--gbit', type=float, default=100, help='bandwidth of one GPU'
    )
    parser.add_argument(
        '--amp', action='store_true', help='count under bfloat16 autocast'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='train on two processes of this machine instead, and compare',
    )
    args = parser.parse_args(argv)
    cfg = arguments.read_config(args)
    # next to nothing, and some parts ask for a look at the images first
    cfg.model.pseudo_labels = None
    size = arguments.image_size(cfg, args.size)
    if args.check:
        print(check(cfg, size, args.batch))
        return
    cost = step_cost(cfg, size, amp=args.amp)
    print(
        f'{cost.flops / 1e9:.1f} GFLOP and {cost.activations / 1e6:.0f} MB of '
        f'activations an image, {cost.params / 1e6:.1f} M parameters, '
        f'{cost.trained / 1e6:.1f} M of them trained\n'
    )
    print(
        table(
            cost,
            args.gpus,
            args.images,
            cfg.train_cfg.max_epochs,
            args.batch,
            args.tflops,
            args.image_kb,
            args.gbit,
        )
    )
