"""Two processes on this machine, joined by gloo, and what they use."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from benchmarks.random_views import random_batch
from must_mm.runs.arguments import without_start
from must_mm.utils.distributed import free_port

STEPS = 4


@dataclass(frozen=True)
class Measured:
    """What a training on two processes used.

    Attributes:
        network: Bytes that one process sent in one step, headers included.
        memory: Largest resident memory of a process in bytes.
    """

    network: float
    memory: float
    processes: ClassVar[int] = 2


def loopback_bytes() -> int:
    """Bytes that have gone through the loopback device (Linux)."""
    for line in Path('/proc/net/dev').read_text().splitlines():
        name, _, counts = line.partition(':')
        if name.strip() == 'lo':
            return int(counts.split()[0])
    raise RuntimeError('/proc/net/dev lists no loopback device')


def _train(rank: int, port: int, cfg: Config, size: int, batch: int, out):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    dist.init_process_group('gloo', rank=rank, world_size=Measured.processes)
    model = torch.nn.parallel.DistributedDataParallel(
        MODELS.build(cfg.model).train(), broadcast_buffers=False
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    views, samples = random_batch(cfg, size, batch)
    before = 0
    for step in range(STEPS + 1):
        if step == 1:  # the first one sets the buckets up
            dist.barrier()
            before = loopback_bytes()
        losses = model(views, samples, mode='loss')
        sum(
            value for name, value in losses.items() if 'loss' in name
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.barrier()
    sent = (loopback_bytes() - before) / STEPS / Measured.processes
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if rank == 0:
        out.append((sent, memory))
    dist.destroy_process_group()


def measure_two(cfg: Config, size: int, batch: int) -> Measured:
    """Train a few steps on random images with two processes.

    Traffic of other programs over the loopback device is counted as well.

    Args:
        cfg: Config of a MUST run; its start is not read.
        size: Side of the views in pixels.
        batch: Images per process.
    """
    with mp.Manager() as manager:
        out = manager.list()
        mp.spawn(
            _train,
            args=(free_port(), without_start(cfg), size, batch, out),
            nprocs=Measured.processes,
        )
        return Measured(*out[0])
