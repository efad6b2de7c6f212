"""The queue of past embeddings in which neighbours are looked up."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmpretrain.registry import MODELS

from ..utils.distributed import gather
from ..utils.validation import check_integer

NO_SAMPLE = -1  # id and label of an entry that no sample has filled yet
# SplitMix64's constants, as signed numbers
_GOLDEN, _FIRST, _SECOND = (
    constant - (1 << 64)
    for constant in (
        0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
    )
)  # fmt: skip


def mixed(numbers: torch.Tensor) -> torch.Tensor:
    """Turn any integers into seemingly random ones of 62 bits.

    The finaliser of SplitMix64 (Steele et al., "Fast splittable pseudorandom
    number generators", 2014), whose products may overflow.

    Args:
        numbers: 64-bit integers of any shape.

    Returns:
        Integers in [0, 2 ** 62), of the same shape and on the same device.
    """
    numbers = numbers + _GOLDEN
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        numbers = (numbers ^ _shifted(numbers, shift)) * factor
    return _shifted(numbers ^ _shifted(numbers, 31), 2)


def _shifted(numbers: torch.Tensor, by: int) -> torch.Tensor:
    """Shift bits to the right, zeros come in: torch brings in the sign."""
    return (numbers >> by) & ((1 << (64 - by)) - 1)


@MODELS.register_module()
class NNQueue(nn.Module):
    """First-in-first-out queue of unit vectors with labels and sample ids.

    A lookup returns one of the ``topk`` most similar entries, drawn uniformly
    (MAE-CT, Sec. 3; ``topk=1`` is the nearest neighbour of NNCLR), and never
    an entry of the sample itself while there are others. All state, that of
    the draws included, is in buffers: a resumed run continues exactly.

    Args:
        size: Number of entries, a multiple of the global batch.
        dim: Length of an entry.
        topk: Number of nearest entries to draw from.

    Raises:
        ValueError: If a number is not a positive integer, or ``topk`` is
            larger than ``size``.
    """

    def __init__(self, size: int, dim: int, topk: int = 1) -> None:
        super().__init__()
        for name, value in dict(size=size, dim=dim, topk=topk).items():
            check_integer(f'model.head.queue.{name}', value)
        if topk > size:
            raise ValueError(
                'model.head.queue.topk must lie between 1 and '
                f'model.head.queue.size ({size}), got {topk}'
            )
        self.size = size
        self.dim = dim
        self.topk = topk
        self.register_buffer('feats', F.normalize(torch.randn(size, dim)))
        self.register_buffer('labels', torch.full((size,), NO_SAMPLE))
        self.register_buffer('sample_ids', torch.full((size,), NO_SAMPLE))
        self.register_buffer('pointer', torch.zeros(1, dtype=torch.long))
        # seeds the next draw; the global generator could not be resumed
        self.register_buffer('seed', torch.randint(2**31, ()))

    @torch.no_grad()
    def lookup(
        self, query: torch.Tensor, sample_ids: torch.Tensor
    ) -> torch.Tensor:
        """Find a neighbour of each query.

        Args:
            query: Unit vectors of this rank's samples, (B, dim).
            sample_ids: Which samples they are, (B,).

        Returns:
            Positions in the queue, (B,).
        """
        similarity = query @ self.feats.T
        same_sample = sample_ids[:, None] == self.sample_ids
        similarity = similarity.masked_fill(same_sample, -1)
        if self.topk == 1:
            return similarity.argmax(dim=1)
        nearest = similarity.topk(self.topk, dim=1).indices
        return nearest.gather(1, self._draw(len(query))[:, None])[:, 0]

    def _draw(self, batch: int) -> torch.Tensor:
        """Draw a place below ``topk`` for each sample of this rank, (B,).

        The draws are hashes of the seed and of the sample's place in the
        batch of all ranks: a generator of the host would have to wait for
        the seed, and one of a device draws as that device does.
        """
        place = torch.arange(batch, device=self.seed.device)
        place += get_rank() * batch
        drawn = mixed(mixed(self.seed) + place) % self.topk
        self.seed += 1
        return drawn

    @torch.no_grad()
    def enqueue(
        self,
        feats: torch.Tensor,
        labels: torch.Tensor,
        sample_ids: torch.Tensor,
    ) -> None:
        """Replace the oldest entries by all ranks' samples.

        Args:
            feats: Unit vectors of this rank, (B, dim).
            labels: Their labels, (B,); -1 where unknown.
            sample_ids: Their sample ids, (B,).

        Raises:
            ValueError: If the size is not a multiple of the global batch.
        """
        feats, labels, sample_ids = map(gather, (feats, labels, sample_ids))
        count = len(feats)
        self.check_batch(count)
        place = (
            self.pointer + torch.arange(count, device=self.pointer.device)
        ) % self.size
        self.feats[place] = feats.to(self.feats.dtype)
        self.labels[place] = labels
        self.sample_ids[place] = sample_ids
        self.pointer.copy_((self.pointer + count) % self.size)

    def check_batch(self, global_batch: int) -> None:
        """Raise unless batches divide the queue.

        Args:
            global_batch: Number of samples per step, of all ranks together.

        Raises:
            ValueError: If the size is not a multiple of it.
        """
        if self.size % global_batch:
            raise ValueError(
                f'model.head.queue.size ({self.size}) must be a multiple of '
                f'the global batch ({global_batch} = '
                'train_dataloader.batch_size x number of processes): change '
                'one of them'
            )
