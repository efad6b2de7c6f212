"""What a run will cost, measured on this machine with random weights."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dataset import Compose, default_collate
from mmengine.device import get_device
from mmpretrain.registry import MODELS

from .progress import silence
from .settings import Machine


def _free_memory() -> int:
    """Bytes that programs can still get; all there are, if none can tell."""
    try:
        text = Path('/proc/meminfo').read_text()
        return int(re.search(r'MemAvailable:\s+(\d+) kB', text)[1]) * 1024
    except (OSError, TypeError):
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    if torch.cuda.is_available():
        memory = torch.cuda.mem_get_info()[0]
    else:
        memory = _free_memory()
    cores = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count()))
    return Machine(
        'cuda' if torch.cuda.is_available() else 'cpu', memory, len(cores(0))
    )


@dataclass(frozen=True)
class Cost:
    """Measured cost of a network on its images.

    Attributes:
        fixed: Bytes of weights, gradients, optimizer and teacher.
        per_image: Bytes that one image of a batch keeps for the gradient.
        step: Seconds of compute per image.
        load: Seconds to load one image and its views, on one core.
        load_test: Seconds to load one image for a prediction, on one core.
    """

    fixed: int
    per_image: int
    step: float
    load: float
    load_test: float

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


def measure(
    model: dict,
    train_pipeline: list,
    test_pipeline: list,
    paths: Sequence[str],
    seconds: float = 4,
) -> Cost:
    """Run two steps of a network, with random weights.

    Args:
        model: Config of the network; its start is not loaded.
        train_pipeline: How images are loaded for training.
        test_pipeline: How they are loaded for a prediction.
        paths: Some of the images; all are loaded.
        seconds: About how long the second, larger step may take.
    """
    samples, load = _load(train_pipeline, paths)
    load_test = _load(test_pipeline, paths)[1]
    with silence():
        network = MODELS.build(dict(model, start=None)).to(get_device())
        network.init_weights()
    network.train()

    def step(count: int) -> tuple[float, int]:
        stored: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        chosen = [samples[i % len(samples)] for i in range(count)]
        data = network.data_preprocessor(default_collate(chosen), True)
        begin = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            losses = network.loss(data['inputs'], data['data_samples'])
        network.parse_losses(losses)[0].backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        for parameter in network.parameters():  # saved, but no activations
            stored.pop(parameter.untyped_storage().data_ptr(), None)
        return time.perf_counter() - begin, sum(stored.values())

    step(2)  # the first one warms up
    short, kept = step(2)
    count = max(2, min(64, int(seconds / short * 2)))
    return Cost(
        fixed=sum(
            # weight, gradient and two moments where it trains
            p.numel() * p.element_size() * (4 if p.requires_grad else 1)
            for p in network.parameters()
        ),
        per_image=kept // 2,
        step=step(count)[0] / count,
        load=load,
        load_test=load_test,
    )
