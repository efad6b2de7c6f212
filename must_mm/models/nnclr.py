"""NNCLR's head: contrast with the nearest neighbours of the other view.

MAE-CT (arXiv 2304.10520) puts it on a masked autoencoder's encoder.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ..utils.distributed import gather, to_device
from ..utils.validation import check_number
from .ema import ema_update
from .neighbour_queue import NO_SAMPLE


def nnclr_loss(
    neighbours: torch.Tensor, predicted: torch.Tensor, temperature: float
) -> torch.Tensor:
    """InfoNCE between the neighbours and all ranks' predictions.

    The positive of a neighbour is the prediction of the sample that it was
    looked up for; all other predictions of the global batch are negatives.
    The gradient reaches the predictions only, on every rank.

    Args:
        neighbours: Unit vectors of this rank, (B, d).
        predicted: The other view's predictions of any length, (B, d).
        temperature: Divides the cosine similarities, above 0.

    Returns:
        Scalar, the mean over this rank's samples.
    """
    columns = gather(F.normalize(predicted, dim=1))
    logits = neighbours.detach() @ columns.T / temperature
    own = torch.arange(len(neighbours), device=logits.device)
    return F.cross_entropy(logits, own + get_rank() * len(neighbours))


@MODELS.register_module()
class NNCLRHead(BaseModule):
    """Projector, predictor and queue (MAE-CT, Sec. 3).

    Each view passes through the head by itself, so that batch norm sees one
    view at a time.

    Args:
        projector: Config of the projector, (B, D) to (B, d).
        predictor: Config of the predictor, (B, d) to (B, d).
        queue: Config of the :class:`NNQueue`.
        temperature: Temperature of the loss, above 0.
        target_decay: Weight of the past in the moving average of the
            projector that embeds what is looked up and enqueued; ``None``
            uses the projector itself (stage 2).

    Raises:
        ValueError: If the temperature or the decay is out of range, or the
            parts' widths differ.
    """

    def __init__(
        self,
        projector: dict,
        predictor: dict,
        queue: dict,
        temperature: float = 0.15,
        target_decay: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_number('model.head.temperature', temperature, '(0, inf)')
        if target_decay is not None:
            check_number('model.head.target_decay', target_decay, '[0, 1]')
        widths = {
            'projector.out_channels': projector['out_channels'],
            'predictor.in_channels': predictor['in_channels'],
            'predictor.out_channels': predictor['out_channels'],
            'queue.dim': queue['dim'],
        }
        if len(set(widths.values())) > 1:
            raise ValueError(
                'these widths of model.head must be equal: '
                + ', '.join(f'{key} is {dim}' for key, dim in widths.items())
            )
        self.in_channels = projector['in_channels']
        self.temperature = temperature
        self.target_decay = target_decay
        self.projector = MODELS.build(projector)
        self.predictor = MODELS.build(predictor)
        self.queue = MODELS.build(queue)
        self.target_projector = None
        if target_decay is not None:
            self.target_projector = copy.deepcopy(self.projector)
            self.target_projector.requires_grad_(False)
        self._register_load_state_dict_pre_hook(self._before_load)

    def init_weights(self) -> None:
        """Initialise; the target projector starts as a copy."""
        super().init_weights()
        if self.target_projector is not None:
            self.target_projector.load_state_dict(self.projector.state_dict())

    def _before_load(self, state_dict: dict, prefix: str, *_args) -> None:
        """Let a head without target projector fill both projectors."""
        target = f'{prefix}target_projector.'
        if self.target_projector is None or any(
            name.startswith(target) for name in state_dict
        ):
            return
        for name in self.projector.state_dict():
            if f'{prefix}projector.{name}' in state_dict:
                state_dict[target + name] = state_dict[
                    f'{prefix}projector.{name}'
                ]

    def loss(
        self, views: Sequence[torch.Tensor], data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """Look up, contrast, enqueue.

        Labels, where the samples have them, are only logged.

        Args:
            views: Pooled features of the two views, (B, D) each.
            data_samples: The batch's samples, with ``sample_idx``.

        Returns:
            ``loss``, the mean over both views; with labels ``nn_accuracy``,
            the share of neighbours with the sample's label, in [0, 1].
        """
        embedded, predicted = zip(*map(self.embed, views), strict=True)
        labels = self._labels(data_samples)
        labelled = bool((labels != NO_SAMPLE).all())  # asked on the host
        labels, ids = (
            to_device(numbers, views[0].device)
            for numbers in (labels, self._sample_ids(data_samples))
        )
        # Half precision could not tell the neighbours apart.
        with torch.autocast(views[0].device.type, enabled=False):
            z = [F.normalize(view.float(), dim=1) for view in embedded]
            places = [self.queue.lookup(view, ids) for view in z]
            neighbours = [self.queue.feats[place] for place in places]
            losses = [
                nnclr_loss(neighbour, other.float(), self.temperature)
                for neighbour, other in zip(
                    neighbours, reversed(predicted), strict=True
                )
            ]
        found = dict(loss=sum(losses) / len(losses))
        if labelled:
            agree = self.queue.labels[torch.stack(places)] == labels
            found['nn_accuracy'] = agree.float().mean()
        if self.training:
            self.queue.enqueue(z[0], labels, ids)
        return found

    def embed(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed one view, (B, D).

        Returns:
            The target projector's output, without gradient, and the
            prediction, (B, d) each and not normalised.
        """
        (projected,) = self.projector((feats,))
        (predicted,) = self.predictor((projected,))
        if self.target_projector is None:
            return projected.detach(), predicted
        with torch.no_grad():
            (embedded,) = self.target_projector((feats,))
        return embedded, predicted

    def update_target(self) -> None:
        """Average the projector's parameters, copy its statistics."""
        if self.target_projector is None:
            return
        target, source = self.target_projector, self.projector
        ema_update(
            list(target.parameters()),
            list(source.parameters()),
            self.target_decay,
        )
        for averaged, current in zip(
            target.buffers(), source.buffers(), strict=True
        ):
            averaged.copy_(current)

    @staticmethod
    def _sample_ids(data_samples: list[DataSample]) -> torch.Tensor:
        if not all('sample_idx' in sample for sample in data_samples):
            raise ValueError(
                'the samples have no sample_idx, by which the queue tells '
                "them apart: keep 'sample_idx' in the meta_keys of PackInputs "
                'in train_dataloader.dataset.pipeline'
            )
        return torch.tensor(
            [int(sample.sample_idx) for sample in data_samples]
        )

    @staticmethod
    def _labels(data_samples: list[DataSample]) -> torch.Tensor:
        if not all('gt_label' in sample for sample in data_samples):
            return torch.full((len(data_samples),), NO_SAMPLE)
        return torch.cat([sample.gt_label for sample in data_samples])
