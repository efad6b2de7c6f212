"""A zero-shot classifier in one file: weights, classes, exact tower.

The file is a checkpoint: ``state_dict`` with ``backbone``, ``neck`` and
``head``, and in ``meta`` the class names, where it comes from, and a config
from which MMPretrain builds the classifier and prepares its images.
"""

from pathlib import Path

import torch
import torch.nn as nn
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import TASK_UTILS

from ..checkpoints.plain import load_tensors, save_tensors
from .plain_config import check_types
from .towers import tower_config


def classifier_config(
    architecture: dict,
    num_classes: int,
    preprocessing: dict,
    image_size: int | None = None,
) -> dict:
    """Describe a zero-shot classifier to MMPretrain.

    Args:
        architecture: An open_clip model config.
        num_classes: Number of classes ``K``.
        preprocessing: ``mean`` and ``std`` (RGB, for pixels in [0, 1]),
            ``interpolation`` and ``resize_mode``, as open_clip names them.
        image_size: Side of the images in pixels, if not the architecture's.

    Returns:
        A config of an :class:`ImageClassifier` and of its test images.

    Raises:
        ValueError: If MMPretrain has no transform for ``resize_mode``.
    """
    size = image_size or architecture['vision_cfg']['image_size']
    how = dict(backend='pillow', interpolation=preprocessing['interpolation'])
    resize = {
        'shortest': [
            dict(type='ResizeEdge', scale=size, **how),
            dict(type='CenterCrop', crop_size=size),
        ],
        'squash': [dict(type='Resize', scale=(size, size), **how)],
    }
    if preprocessing['resize_mode'] not in resize:
        raise ValueError(
            f'resize_mode {preprocessing["resize_mode"]!r} is not known, '
            f'only {sorted(resize)}'
        )
    return dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['must_mm'], allow_failed_imports=False),
        model=dict(
            type='ImageClassifier',
            **tower_config(architecture, image_size),
            head=dict(
                type='PseudoLabelHead',
                num_classes=num_classes,
                in_channels=architecture['embed_dim'],
                fairness=None,
            ),
            data_preprocessor=dict(
                type='ClsDataPreprocessor',
                num_classes=num_classes,
                mean=[round(255 * v, 8) for v in preprocessing['mean']],
                std=[round(255 * v, 8) for v in preprocessing['std']],
                to_rgb=True,
            ),
        ),
        test_dataloader=dict(
            dataset=dict(
                type='CustomDataset',
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    *resize[preprocessing['resize_mode']],
                    dict(type='PackInputs'),
                ],
            )
        ),
    )


def save_classifier(
    path: str | Path,
    state: dict[str, torch.Tensor],
    config: dict,
    classes: list[str],
    **origin,
) -> None:
    """Write a classifier's file.

    Args:
        path: The file.
        state: Parameters of ``backbone``, ``neck`` and ``head``.
        config: See :func:`classifier_config`.
        classes: Class names, in the order of the head's columns.
        origin: What it was made of; strings, numbers and lists.
    """
    meta = dict(dataset_meta=dict(classes=classes), config=config, **origin)
    save_tensors(dict(state_dict=state, meta=meta), path)


def read_classifier(path: str | Path) -> dict:
    """Read a classifier's file as plain data.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file.
    """
    content = load_tensors(path)
    meta = content.get('meta')
    if not (isinstance(meta, dict) and isinstance(meta.get('config'), dict)):
        raise ValueError(
            f'{path} is no converted zero-shot classifier: make one with '
            'tools/convert_clip.py'
        )
    check_types(meta['config'], path)
    return content


def load_classifier(
    path: str | Path, device: str | torch.device = 'cpu'
) -> ImageClassifier:
    """Build the classifier in a file, ready for MMPretrain's inferencers.

    Args:
        path: A file written by ``tools/convert_clip.py``.
        device: Where to put the model.

    Returns:
        The classifier with its weights and class names, in eval mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, or no classifier can be
            built from it.
    """
    content = read_classifier(path)
    try:
        model = get_model(Config(content['meta']['config']), device=device)
        model.load_state_dict(content['state_dict'])
        model._dataset_meta = content['meta']['dataset_meta']
    except Exception as error:  # constructors raise anything
        raise ValueError(
            f'{path}: its config and weights make no classifier '
            f'({type(error).__name__}: {error}). Convert it again with '
            'tools/convert_clip.py'
        ) from error
    return model


@TASK_UTILS.register_module()
class ConvertedStart:
    """A zero-shot classifier from a file of ``tools/convert_clip.py``.

    It needs nothing else: no connection, no text tower, no class names.

    Args:
        checkpoint: The file.

    Raises:
        FileNotFoundError: If there is no such file.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = Path(checkpoint).expanduser()
        if not self.checkpoint.is_file():
            raise FileNotFoundError(
                f'model.start.checkpoint: there is no file {self.checkpoint}; '
                'make it with tools/convert_clip.py'
            )
        #: Names of the file, once it is loaded.
        self.classes: list[str] | None = None

    def load_into(self, model: nn.Module) -> None:
        """Load the classifier into ``backbone``, ``neck`` and ``head``.

        Raises:
            ValueError: If the model's config describes another tower, other
                normalisation of the images or another number of classes.
        """
        content = read_classifier(self.checkpoint)
        meta = content['meta']
        self.classes = meta['dataset_meta']['classes']
        check_classes(model.head, len(self.classes), 'model.start.checkpoint')
        wanted = meta['config']['model']
        check_function(model.backbone, wanted['backbone'])
        how = wanted['data_preprocessor']
        check_normalisation(model.data_preprocessor, how)
        model.load_state_dict(content['state_dict'], strict=False)


def check_classes(head: nn.Module, count: int, key: str) -> None:
    """Compare the number of classes of a start and of a head.

    Raises:
        ValueError: If they differ, naming the config key of the start.
    """
    wanted = getattr(head, 'num_classes', count)
    if wanted != count:
        raise ValueError(
            f'{key} has {count} classes, model.head.num_classes is {wanted}: '
            'make them equal'
        )


def check_normalisation(preprocessor: nn.Module, wanted: dict) -> None:
    """Compare how images are normalised.

    Args:
        preprocessor: The data preprocessor of the model that is to get the
            weights.
        wanted: ``mean`` and ``std`` that they were trained with, for pixels
            in [0, 255].

    Raises:
        ValueError: If one differs, with both values.
    """
    for name in ('mean', 'std'):
        if not hasattr(preprocessor, name):  # it does not normalise
            return
        found = getattr(preprocessor, name).flatten().cpu()
        if not torch.allclose(found, torch.tensor(wanted[name]), atol=0.5):
            values = ', '.join(f'{value:g}' for value in wanted[name])
            raise ValueError(
                f'model.data_preprocessor.{name} is '
                f'[{", ".join(f"{value:g}" for value in found.tolist())}], '
                f'the weights were trained with [{values}]: make them equal'
            )


def check_function(backbone: nn.Module, wanted: dict) -> None:
    """Compare what no tensor's shape tells.

    Args:
        backbone: The backbone that is to get the weights.
        wanted: Config of the backbone that they were made for.

    Raises:
        ValueError: If it would compute another function.
    """
    key = 'model.backbone'
    # two ways to compute the same
    found = type(backbone).__name__.removeprefix('Lean')
    if found != wanted['type'].removeprefix('Lean'):
        raise ValueError(
            f'{key}.type is {type(backbone).__name__}, the weights are of a '
            f'{wanted["type"]}: make them equal'
        )
    if found != 'VisionTransformer':
        return
    activation = wanted['layer_cfgs']['act_cfg']['type'].split('.')[-1]
    checks = (
        ('arch.num_heads', 'attn.num_heads', wanted['arch']['num_heads']),
        ('norm_cfg.eps', 'ln1.eps', wanted['norm_cfg']['eps']),
        ('layer_cfgs.act_cfg.type', 'ffn.layers.0.1', activation),
    )
    for layer in backbone.layers:
        for option, where, expected in checks:
            found = layer
            for part in where.split('.'):
                found = (
                    found[int(part)]
                    if part.isdecimal()
                    else getattr(found, part)
                )
            if isinstance(found, nn.Module):
                found = type(found).__name__
            if found != expected:
                raise ValueError(
                    f'{key}.{option} is {found}, the weights were trained '
                    f'with {expected}: make them equal'
                )
