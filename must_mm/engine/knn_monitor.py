"""k-NN accuracy on a subset, while training."""

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from ..evaluation.features import check_feature, extract_features
from ..evaluation.knn import knn_accuracy
from ..utils.validation import check_integer, check_number


def subset_loader(
    dataloader: dict, size: int | None, seed: int = 0
) -> DataLoader:
    """Build a data loader on some images of its data set.

    Args:
        dataloader: Config of an MMEngine data loader.
        size: Number of images, drawn from the whole set (the first ones of a
            data set are often of one class); ``None``, or more than there
            are, takes all.
        seed: Seed of the draw.
    """
    # without a seed, samplers draw one from the generator of the run
    loader = Runner.build_dataloader(dataloader, seed=seed)
    if size is None or size >= len(loader.dataset):
        return loader
    random = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(loader.dataset), generator=random)[:size]
    # in place: get_subset copies, and mixes up objects of earlier copies
    loader.dataset.get_subset_(sorted(chosen.tolist()))
    return Runner.build_dataloader(
        dict(dataloader, dataset=loader.dataset), seed=seed
    )


@HOOKS.register_module()
class KNNMonitorHook(Hook):
    """Logs ``knn/top1``, in percent, before and while a model trains.

    Beside any validation loop and any model with a backbone. It looks at the
    weights that train (for MUST, at student or teacher, as
    ``model.predict_with`` says), and takes no random number from the run: the
    weights come out the same without it.

    Args:
        bank_dataloader: Labelled images to compare with, in evaluation views.
        query_dataloader: Labelled images to classify, in evaluation views.
        bank_size: Number of images of the bank; ``None`` takes all.
        query_size: Number of images to classify; ``None`` takes all.
        k: Number of neighbours.
        temperature: Temperature of the votes, positive.
        feature: Which feature; see :func:`image_features`.
        interval: Epochs from one look to the next.
        seed: Seed of the subsets, which stay the same during the run.

    Raises:
        ValueError: If a number is not positive or ``feature`` is unknown.
    """

    priority = 'LOW'  # after teachers and averages are updated
    NAME = 'knn/top1'

    def __init__(
        self,
        bank_dataloader: dict,
        query_dataloader: dict,
        bank_size: int | None = None,
        query_size: int | None = None,
        k: int = 10,
        temperature: float = 0.07,
        feature: str | None = None,
        interval: int = 1,
        seed: int = 0,
    ) -> None:
        for name, value in dict(
            bank_size=bank_size, query_size=query_size, k=k, interval=interval
        ).items():
            if value is not None:
                check_integer(f'KNNMonitorHook.{name}', value)
        check_number('KNNMonitorHook.temperature', temperature, '(0, inf)')
        check_feature(feature)
        self.dataloaders = dict(
            bank_dataloader=(bank_dataloader, bank_size),
            query_dataloader=(query_dataloader, query_size),
        )
        self.k = k
        self.temperature = temperature
        self.feature = feature
        self.interval = interval
        self.seed = seed

    def before_train(self, runner) -> None:
        """Read the data, and look at the start unless the run is resumed.

        Raises:
            ValueError: If ``k`` exceeds the bank.
        """
        self.loaders = {
            name: subset_loader(dataloader, size, self.seed)
            for name, (dataloader, size) in self.dataloaders.items()
        }
        bank = len(self.loaders['bank_dataloader'].dataset)
        if self.k > bank:
            raise ValueError(
                f'KNNMonitorHook.k is {self.k}, its bank has {bank} images: '
                'lower k, or raise bank_size'
            )
        if not runner._resume:
            self.look(runner)

    def after_train_epoch(self, runner) -> None:
        """Look at the end of every ``interval``-th epoch and of the last."""
        if self.every_n_epochs(runner, self.interval) or (
            self.is_last_train_epoch(runner)
        ):
            self.look(runner)

    def look(self, runner) -> None:
        """Measure and log."""
        # data loaders draw from the generator of the run
        with torch.random.fork_rng(devices=[]):
            bank, queries = (
                extract_features(
                    runner.model,
                    loader,
                    self.feature,
                    f'KNNMonitorHook.{name}',
                )
                for name, loader in self.loaders.items()
            )
        if bank is None:  # not the first process
            return
        top1 = 100 * knn_accuracy(
            queries.features.to(get_device()),
            queries.labels,
            *bank,
            k=self.k,
            temperature=self.temperature,
        )
        runner.logger.info(
            f'{self.NAME}: {top1:.2f} ({len(queries.labels)} images, bank of '
            f'{len(bank.labels)})'
        )
        runner.message_hub.update_scalar(self.NAME, top1)
        runner.visualizer.add_scalar(self.NAME, top1, step=runner.iter)
