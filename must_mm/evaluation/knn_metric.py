"""k-NN accuracy in MMEngine's loops: a metric, and loops that feed it."""

from collections.abc import Sequence

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..utils.validation import check_integer, check_number
from .features import (
    Features,
)
from .knn import knn_accuracy


@METRICS.register_module()
class KNNMetric(BaseMetric):
    """k-NN accuracy in percent, as ``knn/top1``.

    Reads ``feature`` (D,) and ``gt_label`` of every sample and compares them
    with :attr:`bank`. :class:`FeatureValLoop` and :class:`FeatureTestLoop`
    provide both; they are collected once per pass when distributed.

    Args:
        k: Number of neighbours.
        temperature: Temperature of the votes, positive.
        collect_device: Device the results are collected on, ``'cpu'`` or
            ``'gpu'``.
        prefix: Prefix of the metric's name.

    Raises:
        ValueError: If ``k`` or ``temperature`` is not positive.
    """

    default_prefix = 'knn'

    def __init__(
        self,
        k: int = 10,
        temperature: float = 0.07,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_integer('KNNMetric.k', k)
        check_number('KNNMetric.temperature', temperature, '(0, inf)')
        self.k = k
        self.temperature = temperature
        #: What the samples are compared with; needed in the first process.
        self.bank: Features | None = None

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the features and labels of a batch.

        Raises:
            ValueError: If the samples have no features.
        """
        for sample in data_samples:
            if 'feature' not in sample:
                raise ValueError(
                    'KNNMetric needs samples with features: set '
                    "val_cfg=dict(type='FeatureValLoop', bank_dataloader=...) "
                    "or test_cfg=dict(type='FeatureTestLoop', ...)"
                )
            # a copy: pickling a view would write the whole batch
            self.results.append(
                (sample['feature'].cpu().clone(), int(sample['gt_label']))
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Classify the collected features.

        Raises:
            ValueError: If there is no bank, or ``k`` exceeds it.
        """
        if self.bank is None:
            raise ValueError(
                'KNNMetric has no bank to compare with: set bank_dataloader '
                'of the FeatureValLoop or FeatureTestLoop'
            )
        features, labels = zip(*results, strict=True)
        accuracy = knn_accuracy(
            torch.stack(features).to(get_device()),
            torch.tensor(labels),
            *self.bank,
            k=self.k,
            temperature=self.temperature,
        )
        return dict(top1=100 * accuracy)
