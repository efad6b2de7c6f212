"""k-NN accuracy in MMEngine's loops: a metric, and loops that feed it."""

from collections.abc import Sequence

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.runner import TestLoop, ValLoop
from mmpretrain.registry import LOOPS, METRICS

from ..utils.validation import check_integer, check_number
from .features import (
    Features,
    batch_features,
    batch_labels,
    check_feature,
    extract_features,
    unwrap_model,
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


class _FeatureLoop:
    """Gives the metrics features in place of predictions.

    Takes any model with a backbone, without a head too. The weights are
    those of any validation: hooks that swap in averaged weights apply to the
    bank as well.

    Args:
        runner: MMEngine's runner.
        dataloader: Labelled images to classify.
        evaluator: Metrics, :class:`KNNMetric` among them.
        bank_dataloader: Labelled images to compare with, such as the
            training images through the validation pipeline.
        feature: Which feature; see :func:`image_features`.
        kwargs: What MMEngine's loop takes.

    Raises:
        ValueError: If ``feature`` is unknown, or a metric's ``k`` exceeds the
            bank.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        bank_dataloader: dict,
        feature: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, **kwargs)
        check_feature(feature)
        self.bank_dataloader = runner.build_dataloader(bank_dataloader)
        self.feature = feature
        size = len(self.bank_dataloader.dataset)
        for metric in self.knn_metrics():
            if metric.k > size:
                raise ValueError(
                    f'KNNMetric.k is {metric.k}, bank_dataloader.dataset has '
                    f'{size} images: lower k or enlarge the bank'
                )

    def knn_metrics(self) -> list[KNNMetric]:
        """The metrics that need the bank."""
        return [
            metric
            for metric in self.evaluator.metrics
            if isinstance(metric, KNNMetric)
        ]

    def fill_banks(self) -> None:
        """Extract the bank with the weights of this pass."""
        bank = extract_features(
            self.runner.model,
            self.bank_dataloader,
            self.feature,
            'bank_dataloader',
        )
        for metric in self.knn_metrics():
            metric.bank = bank

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Extract the features of one batch."""
        if idx == 0:  # not earlier: hooks may have swapped the weights
            self.fill_banks()
        place = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'before_{self.phase}_iter', **place)
        samples = data_batch['data_samples']
        batch_labels(samples, f'{self.phase}_dataloader')  # are they there?
        features = batch_features(
            unwrap_model(self.runner.model), data_batch, self.feature
        )
        for sample, feature in zip(samples, features, strict=True):
            sample.set_field(feature, 'feature')
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook(
            f'after_{self.phase}_iter', **place, outputs=samples
        )


@LOOPS.register_module()
class FeatureValLoop(_FeatureLoop, ValLoop):
    """Validation of features; see MMEngine's ``ValLoop``."""

    phase = 'val'


@LOOPS.register_module()
class FeatureTestLoop(_FeatureLoop, TestLoop):
    """Test of features; see MMEngine's ``TestLoop``."""

    phase = 'test'
