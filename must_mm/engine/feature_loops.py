"""Validation and test of features instead of predictions."""

import torch
from mmengine.runner import TestLoop, ValLoop
from mmpretrain.registry import LOOPS

from ..evaluation.features import (
    batch_features,
    batch_labels,
    check_feature,
    extract_features,
    unwrap_model,
)
from ..evaluation.knn_metric import KNNMetric


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
