"""Frozen features of any MMPretrain model, one vector per image."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn as nn
from mmengine.dist import collect_results, get_world_size
from mmpretrain.models import ImageClassifier
from torch.utils.data import DataLoader

from ..utils.distributed import unwrap

CLASS_TOKEN, MEAN, NECK = 'class_token', 'mean', 'neck'
FEATURES = (CLASS_TOKEN, MEAN, NECK)


class Features(NamedTuple):
    """Features (N, D), float32, and labels (N,), both on the CPU."""

    features: torch.Tensor
    labels: torch.Tensor


def check_feature(feature: str | None) -> None:
    """Raise unless all names of features are known.

    Raises:
        ValueError: If ``feature`` is neither ``None`` nor one of
            :data:`FEATURES`.
    """
    if feature is not None and feature not in FEATURES:
        raise ValueError(
            f'feature must be one of {", ".join(FEATURES)}, or None to choose '
            f'by what the backbone returns; got {feature!r}'
        )


def pool(
    output: torch.Tensor, backbone: nn.Module, feature: str | None = None
) -> torch.Tensor:
    """Make one vector per image of what a backbone returns.

    Args:
        output: Tokens (B, extra + N, D), a map (B, D, h, w), or vectors
            (B, D) that the backbone has pooled itself.
        backbone: Says how many extra tokens precede the patches
            (``num_extra_tokens``), or of which type its vectors are
            (``out_type``).
        feature: ``'class_token'``, the first of the tokens; ``'mean'``, over
            the patches or the positions of the map; ``None`` takes the class
            token where there is one, the mean of what has positions
            otherwise, and vectors as they are.

    Returns:
        (B, D).

    Raises:
        ValueError: If the output does not hold that feature.
    """
    extra = getattr(backbone, 'num_extra_tokens', 0)
    if output.ndim == 4 and feature != CLASS_TOKEN:
        return output.mean(dim=(2, 3))
    if output.ndim == 3:
        if feature != MEAN and extra:
            return output[:, 0]
        if feature != CLASS_TOKEN:
            return output[:, extra:].mean(dim=1)
    if output.ndim == 2:
        own = getattr(backbone, 'out_type', None)
        if feature is None or (feature == CLASS_TOKEN and own == 'cls_token'):
            return output
    raise ValueError(
        f'the backbone {type(backbone).__name__} returns '
        f'{tuple(output.shape)}, of which there is no {feature!r} feature. '
        'Vision transformers return all tokens with model.backbone.out_type='
        "'raw'; or choose another feature"
    )


def image_features(
    model: nn.Module, images: torch.Tensor, feature: str | None = None
) -> torch.Tensor:
    """Features (B, D) of normalised images (B, 3, H, W).

    Args:
        model: A model with ``extract_feat``. MUST gives those of its student
            or teacher, as ``predict_with`` says.
        images: (B, 3, H, W).
        feature: As in :func:`pool`; or ``'neck'``, what a classifier's neck
            returns, such as CLIP's projection.

    Raises:
        ValueError: If the model does not have that feature.
    """
    if feature == NECK:
        if not isinstance(model, ImageClassifier) or not model.with_neck:
            raise ValueError(
                f"feature='{NECK}' needs a classifier with model.neck, "
                f'{type(model).__name__} has none'
            )
        output = model.extract_feat(images, stage='neck')
        feature = None
    elif isinstance(model, ImageClassifier):
        output = model.extract_feat(images, stage='backbone')
    else:
        output = model.extract_feat(images)
    if isinstance(output, (tuple, list)):
        output = output[-1]
    return pool(output, model.backbone, feature)


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside a data-parallel wrapper.

    Raises:
        TypeError: If it cannot extract features.
    """
    model = unwrap(model, nn.Module)
    if not hasattr(model, 'extract_feat') or not hasattr(model, 'backbone'):
        raise TypeError(
            f'{type(model).__name__} has no backbone and extract_feat; give '
            "a bare backbone as model=dict(type='ImageClassifier', "
            'backbone=...)'
        )
    return model


@torch.no_grad()
def batch_features(
    model: nn.Module, batch: dict, feature: str | None = None
) -> torch.Tensor:
    """Features (B, D), float32, of a batch as a data loader gives it."""
    inputs = batch['inputs']
    if not isinstance(inputs, torch.Tensor):
        # preprocessors of self-supervised models take lists for views
        if any(
            not isinstance(image, torch.Tensor)
            or image.shape != inputs[0].shape
            or image.ndim != 3
            for image in inputs
        ):
            raise ValueError(
                'features are extracted from one view per image, all of one '
                'size: end the data set pipeline with a crop and PackInputs, '
                'without CropViews or MultiView'
            )
        inputs = torch.stack(list(inputs))
    data = model.data_preprocessor(
        dict(inputs=inputs, data_samples=batch['data_samples']), False
    )
    return image_features(model, data['inputs'], feature).float()


def batch_labels(samples: Iterable, name: str = 'dataloader') -> torch.Tensor:
    """Labels (B,) of a batch of samples.

    Args:
        samples: MMPretrain's data samples.
        name: Config key of their data loader, for the error message.

    Raises:
        ValueError: If a sample has no label, or not exactly one.
    """
    labels = []
    for sample in samples:
        if 'gt_label' not in sample or sample.gt_label.numel() != 1:
            raise ValueError(
                f'labels are missing: evaluating features needs one label '
                f'per image, {name}.dataset gives none or several. Set its '
                'ann_file, and with_label=True'
            )
        labels.append(sample.gt_label.reshape(()))
    return torch.stack(labels).cpu()


def _in_order(parts: list[torch.Tensor], size: int) -> torch.Tensor:
    """Undo the interleaving of MMEngine's samplers, drop their padding."""
    places = [
        torch.arange(len(part)) * len(parts) + rank
        for rank, part in enumerate(parts)
    ]
    return torch.cat(parts)[torch.cat(places).argsort()][:size]


def extract_features(
    model: nn.Module,
    loader: DataLoader,
    feature: str | None = None,
    name: str = 'dataloader',
) -> Features | None:
    """Extract features of a whole data set, in evaluation mode.

    The views are those of the loader's pipeline. With several processes,
    each extracts its share, and the shares are collected once.

    Args:
        model: Any MMPretrain model with a backbone, or its data-parallel
            wrapper; left in the mode it was in.
        loader: Its sampler is MMEngine's ``DefaultSampler`` and drops
            nothing.
        feature: Which feature; see :func:`image_features`.
        name: Config key of the loader, for error messages.

    Returns:
        The features in the order of the sampler; ``None`` in all processes
        but the first.

    Raises:
        ValueError: If labels are missing, images are left out, or the model
            does not have that feature.
        TypeError: If the model cannot extract features.
    """
    check_feature(feature)
    model = unwrap_model(model)
    was_training = model.training
    model.eval()
    features, labels = [], []
    try:
        for batch in loader:
            features.append(batch_features(model, batch, feature).cpu())
            labels.append(batch_labels(batch['data_samples'], name))
    finally:
        model.train(was_training)
    size, share = len(loader.dataset), len(loader.sampler)
    seen = sum(map(len, labels))
    if seen < share or not size:
        raise ValueError(
            f'{name} gave {seen} of {share} images: set its drop_last=False, '
            'and check data_root, data_prefix and ann_file of its dataset'
        )
    part = Features(torch.cat(features), torch.cat(labels))
    parts = collect_results([part], get_world_size(), 'cpu')
    if parts is None:
        return None
    return Features(*(_in_order(of, size) for of in zip(*parts, strict=True)))
