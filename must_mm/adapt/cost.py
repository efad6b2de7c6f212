"""What a run will cost, measured on this machine with random weights."""

import gc
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from mmengine.dataset import Compose, default_collate
from mmengine.device import get_device
from mmpretrain.registry import MODELS

from ..engine.autocast import cpu_has_bfloat16
from ..engine.blocks import recompute_blocks
from ..utils.machine import (
    cores,
    device_type,
    free_memory,
    shared_memory,
    synchronize,
)
from .progress import silence
from .settings import MEMORY_SHARE, Machine
from .side_by_side import gpus


def this_machine() -> Machine:
    """Describe what this process may use."""
    device = device_type()
    return Machine(
        device,
        free_memory(device),
        cores(),
        amp=device == 'cuda' or (device == 'cpu' and cpu_has_bfloat16()),
        shared=shared_memory(),
        devices=max(1, len(gpus())),
    )


@dataclass(frozen=True)
class Cost:
    """Measured cost of a network on its images.

    Attributes:
        fixed: Bytes of weights, gradients, optimizer, teacher, and what else
            a step takes for any number of images.
        per_image: Bytes that one more image of a batch takes.
        step: Seconds of compute per image.
        load: Seconds to load one image and its views, on one core.
        load_test: Seconds to load one image for a prediction, on one core.
        too_many: Images that were out of memory, if any number was.
    """

    fixed: int
    per_image: int
    step: float
    load: float
    load_test: float
    too_many: int | None = None

    def memory(self, batch: int) -> int:
        """Bytes of a run, without the libraries."""
        return self.fixed + batch * self.per_image

    def seconds(self, images: int, epochs: int, workers: int) -> float:
        """Wall time of training and of predicting twice.

        A prediction is about a quarter of a step: forward, one view, one
        network.
        """

        def pace(compute: float, load: float) -> float:
            return max(compute, load / workers) if workers else compute + load

        training = epochs * pace(self.step, self.load)
        return images * (training + 2 * pace(self.step / 4, self.load_test))


def _load(pipeline: list, paths: Sequence[str]) -> tuple[list[dict], float]:
    """Samples of some images, and the seconds that each of them took."""
    compose = Compose(pipeline)

    def load() -> list[dict]:
        return [
            compose(dict(img_path=path, sample_idx=i))
            for i, path in enumerate(paths)
        ]

    load()  # warms up
    begin = time.perf_counter()
    samples = load()
    return samples, (time.perf_counter() - begin) / len(samples)


def precision(wrapper: dict) -> torch.dtype | None:
    """What an optimizer wrapper's config lets autocast compute in.

    Args:
        wrapper: The config.

    Returns:
        ``None`` without autocast.
    """
    if wrapper.get('type') == 'AutocastOptimWrapper':
        return torch.bfloat16
    if wrapper.get('type') == 'AmpOptimWrapper':
        name = wrapper.get('dtype', 'float16')
        return getattr(torch, name) if isinstance(name, str) else name
    return None


class _Steps:
    """A network that takes steps without an optimizer, and is measured.

    Args:
        model: Config of the network; its start is not loaded.
        samples: Loaded images, which are repeated to make a batch.
        dtype: What autocast computes in; ``None`` is without.
        recompute: Whether blocks are recomputed.
    """

    def __init__(
        self,
        model: dict,
        samples: list[dict],
        dtype: torch.dtype | None,
        recompute: bool,
    ) -> None:
        self.samples, self.dtype = samples, dtype
        self.device = torch.device(get_device())
        with silence():
            # labels cost little, and may wait for the start's predictions
            self.network = MODELS.build(
                dict(model, start=None, pseudo_labels=None)
            )
            self.network = self.network.to(self.device)
            self.network.init_weights()
        if recompute:
            recompute_blocks(self.network.backbone.layers)
        self.network.train()

    def fixed(self) -> int:
        """Bytes of weights, and of gradient and two moments if they train."""
        return sum(
            p.numel() * p.element_size() * (4 if p.requires_grad else 1)
            for p in self.network.parameters()
        )

    def __call__(self, count: int) -> tuple[float, int]:
        """Seconds of a step of ``count`` images, and the bytes it takes.

        On a GPU those of the allocator at most, elsewhere those of what is
        kept for the gradient. The weights' gradients are there already.

        Raises:
            torch.OutOfMemoryError: If they do not fit.
        """
        chosen = [self.samples[i % len(self.samples)] for i in range(count)]
        network, on_gpu = self.network, self.device.type == 'cuda'
        data = network.data_preprocessor(default_collate(chosen), True)
        stored: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        begin = time.perf_counter()
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
            if not on_gpu
            else nullcontext(),
            torch.autocast(
                self.device.type, self.dtype, enabled=bool(self.dtype)
            ),
        ):
            losses = network.loss(data['inputs'], data['data_samples'])
        network.parse_losses(losses)[0].backward()
        if on_gpu:
            torch.cuda.synchronize()
            taken = torch.cuda.max_memory_allocated() - before
        else:
            synchronize()
            for parameter in network.parameters():
                stored.pop(parameter.untyped_storage().data_ptr(), None)
            taken = sum(stored.values())
        return time.perf_counter() - begin, taken


def _cleaned() -> None:
    """Give back what a step that failed, or a network, has left."""
    gc.collect()  # models hold themselves in circles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(
    model: dict,
    train_pipeline: list,
    test_pipeline: list,
    paths: Sequence[str],
    memory: int,
    dtype: torch.dtype | None = None,
    recompute: bool = False,
    seconds: float = 4,
) -> Cost:
    """Run a few steps of a network, with random weights, as it will train.

    From two images up, and never more than fit by what smaller steps took;
    where that was too much after all, the answer is smaller, not an error.

    Args:
        model: Config of the network; its start is not loaded.
        train_pipeline: How images are loaded for training.
        test_pipeline: How they are loaded for a prediction.
        paths: Some of the images; all are loaded.
        memory: Bytes that are free.
        dtype: What autocast computes in; ``None`` is without.
        recompute: Whether blocks are recomputed.
        seconds: About how long the steps that are timed may take.

    Raises:
        ValueError: If not even two images fit.
    """
    samples, load = _load(train_pipeline, paths)
    load_test = _load(test_pipeline, paths)[1]
    too_many, count, step = None, 2, None
    fixed, took, slope, first = 0, 0.0, 0, 0
    try:
        step = _Steps(model, samples, dtype, recompute)
        fixed = step.fixed()
        step(2)  # warms up, and makes the gradients
        took, first = step(2)
        slope = first // 2
        while True:
            more = 2 * count
            taken = fixed + max(0, first - 2 * slope) + more * slope
            fits = taken <= MEMORY_SHARE * memory
            if more > 64 or took * 2 > seconds or not fits:
                break
            try:
                took, bytes_taken = step(more)
            except torch.OutOfMemoryError:
                too_many = more
                break
            count, slope = more, (bytes_taken - first) // (more - 2)
    except torch.OutOfMemoryError as error:
        if not took:
            raise ValueError(
                '--model: training needs more memory than the '
                f'{memory / 2**30:.1f} GiB that are free; take a smaller model'
            ) from error
        raise
    finally:
        del step
        _cleaned()
    return Cost(
        fixed=fixed + max(0, first - 2 * slope),
        per_image=slope,
        step=took / count,
        load=load,
        load_test=load_test,
        too_many=too_many,
    )
