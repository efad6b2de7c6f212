"""What the start says of the training images, before anything has changed."""

from dataclasses import dataclass

import torch
import torch.nn as nn
from mmpretrain.structures import DataSample

#: How many classes are kept of each image.
KEPT = 10


@dataclass(frozen=True)
class StartStatistics:
    """The start's predictions of N images.

    Attributes:
        mean: Mean probability of each class, (K,).
        class_sums: Features summed by class probability, (K, E).
        classes: The k most probable classes of each image, the most probable
            first, (N, k).
        probs: Their probabilities, (N, k).
        sample: All probabilities of some of the images, drawn at random,
            (S, K).
        sample_feats: Their features, (S, E).
    """

    mean: torch.Tensor
    class_sums: torch.Tensor
    classes: torch.Tensor
    probs: torch.Tensor
    sample: torch.Tensor
    sample_feats: torch.Tensor

    @property
    def confidence(self) -> torch.Tensor:
        """``max q`` of each image, (N,)."""
        return self.probs[:, 0]


class StartPredictions(nn.Module):
    """The start's predictions by the number of the sample.

    The :data:`KEPT` most probable classes of each, with half precision: 60
    bytes an image. Empty until :meth:`begin`; saved with the model.

    Args:
        num_classes: Number of classes ``K``.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self._keep(torch.empty(0, 0), torch.empty(0, 0))
        self._register_load_state_dict_pre_hook(self._before_load)

    def __len__(self) -> int:
        return len(self.classes)

    def _keep(self, classes: torch.Tensor, probs: torch.Tensor) -> None:
        self.register_buffer('classes', classes.to(torch.int32))
        self.register_buffer('probs', probs.to(torch.float16))

    def _before_load(self, state_dict: dict, prefix: str, *_args) -> None:
        """Make room for as many images as were saved."""
        saved = [state_dict.get(f'{prefix}{n}') for n in ('classes', 'probs')]
        if all(isinstance(tensor, torch.Tensor) for tensor in saved):
            device = self.classes.device
            self._keep(*(torch.zeros_like(t, device=device) for t in saved))

    def begin(self, start: StartStatistics) -> None:
        """Keep the start's predictions."""
        self._keep(start.classes, start.probs)

    def forget(self) -> None:
        """Know nothing of any image, as before :meth:`begin`."""
        self._keep(self.classes[:0], self.probs[:0])

    def labels(self, index: torch.Tensor) -> torch.Tensor:
        """Return the start's labels of the samples ``index``, (B,)."""
        return self.classes[index, 0].long()

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """Return the start's probabilities of the samples ``index``, (B, K).

        What the kept classes leave is spread evenly over the others.
        """
        classes, probs = self.classes[index].long(), self.probs[index].float()
        others = max(1, self.num_classes - classes.shape[1])
        rest = (1 - probs.sum(dim=1, keepdim=True)).clamp(min=0) / others
        dense = rest.expand(-1, self.num_classes).scatter(1, classes, probs)
        return dense / dense.sum(dim=1, keepdim=True)


def sample_numbers(data_samples: list[DataSample]) -> torch.Tensor:
    """Return the numbers of B samples in their data set, (B,).

    Raises:
        ValueError: If the data set does not say.
    """
    if not all('sample_idx' in sample for sample in data_samples):
        raise ValueError(
            'model.pseudo_labels knows the training images by their number '
            "(sample_idx), which the samples lack: leave 'sample_idx' in "
            'meta_keys of PackInputs in train_dataloader.dataset.pipeline'
        )
    return torch.tensor([int(sample.sample_idx) for sample in data_samples])
