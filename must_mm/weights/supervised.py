"""Where training starts: a classifier that was trained with labels.

Its head is restricted or merged to the target's classes, which makes MUST a
source-free adaptation method: only the weights of the source are needed.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import TASK_UTILS

from ..utils.lists import same_name
from ..utils.validation import check_integer, check_type
from .kinds import inside, unwrapped
from .start_file import check_classes, check_normalisation
from .text import Names, read_classes

# Linear layers of MMPretrain's heads, and where they go.
_HEADS = {
    'head.fc': 'head.fc',
    'head.layers.head': 'head.fc',
    'head.layers.head_dist': 'head.fc_dist',
}
_FEATURES = ('backbone.', 'neck.')


def check_class_map(
    class_map: Mapping[str, Sequence[int]], classes: Sequence[str]
) -> list[list[int]]:
    """Return the source rows of every class, in the order of the classes.

    Raises:
        ValueError: If the names differ, or a class has no rows.
    """
    key = 'model.start.class_map'
    class_map = {same_name(name): rows for name, rows in class_map.items()}
    missing = [name for name in classes if name not in class_map]
    unknown = [name for name in class_map if name not in set(classes)]
    if missing or unknown:
        raise ValueError(
            f'{key} has {len(class_map)} classes, model.start.classes '
            f'{len(classes)}'
            + (f'; without rows: {missing}' if missing else '')
            + (f'; not a class: {unknown}' if unknown else '')
        )
    for name in classes:
        check_type(f'{key}.{name}', class_map[name], list, tuple)
        for row in class_map[name]:
            check_integer(f'{key}.{name}', row, at_least=0)
    empty = [name for name in classes if not class_map[name]]
    if empty:
        raise ValueError(
            f'{key}: no rows for {empty}; list at least one source class each'
        )
    return [list(class_map[name]) for name in classes]


def merge_rows(
    rows: torch.Tensor, groups: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Average rows of a linear layer, group by group.

    Args:
        rows: Weight (S, E) or bias (S,) of ``S`` source classes.
        groups: For each of ``K`` target classes, its source rows.

    Returns:
        (K, E) or (K,).

    Raises:
        ValueError: If a row is not in [0, S).
    """
    outside = sorted(
        {row for group in groups for row in group if not 0 <= row < len(rows)}
    )
    if outside:
        raise ValueError(
            f'model.start.class_map: rows {outside} are out of range, the '
            f'source head has rows 0 to {len(rows) - 1}'
        )
    return torch.stack([rows[list(group)].mean(dim=0) for group in groups])


@TASK_UTILS.register_module()
class ClassifierStart:
    """A trained classifier, its head merged to the target's classes.

    Loads a checkpoint of any MMPretrain ``ImageClassifier`` with a linear
    head (its EMA weights are not looked for), or for a ``TIMMBackbone`` the
    state dict of the timm model, alone or within a checkpoint of a training
    loop, such as timm's. ``model.backbone`` and ``model.neck`` are
    those of the source's config, ``model.head`` is a
    :class:`LinearPseudoLabelHead`. Only tensors are read from the file.

    Args:
        checkpoint: File, or address that MMEngine's loader understands.
        classes: Class names, or a text file with one a line, in the order of
            the data set's classes.
        class_map: For each class name the rows of the source head that are
            averaged; ``None`` takes the rows as they are, one a class.

    Raises:
        ValueError: If ``class_map`` and ``classes`` differ, or a class has no
            rows.
        FileNotFoundError: If a file of names is missing.
    """

    def __init__(
        self,
        checkpoint: str,
        classes: Names,
        class_map: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        check_type('model.start.checkpoint', checkpoint, str, Path)
        check_type('model.start.class_map', class_map, Mapping, type(None))
        self.checkpoint = str(checkpoint)
        self.classes = read_classes(classes, 'model.start.classes')
        self.groups = None
        if class_map is not None:
            self.groups = check_class_map(class_map, self.classes)

    def load_into(self, model: nn.Module) -> None:
        """Load features and merged head into ``backbone``, ``neck``, ``head``.

        Raises:
            FileNotFoundError: If there is no checkpoint.
            ValueError: If checkpoint, head or classes do not fit the model.
        """
        check_classes(model.head, len(self.classes), 'model.start.classes')
        self._compare_with_timm(model)
        state = {}
        for name, value in self.load(model.backbone).items():
            if name.startswith(_FEATURES):
                state[name] = value
            elif name.startswith('head.'):
                layer, _, kind = name.rpartition('.')
                state[f'{_HEADS.get(layer, layer)}.{kind}'] = (
                    self.merge(value) if layer in _HEADS else value
                )
        self._check_head(state, model.head)
        missing, _ = model.load_state_dict(state, strict=False)
        # parameters are checked as they are loaded; other buffers are made by
        # the backbone (tables of positions), statistics are not
        missing = [
            name
            for name in missing
            if name.startswith(_FEATURES)
            and name.endswith(('running_mean', 'running_var'))
        ]
        if missing:
            raise ValueError(
                f'model.start.checkpoint: {self.checkpoint} lacks the '
                f'statistics of batch norms ({missing[0]}, ...): give the '
                'whole state dict of the classifier'
            )

    def _compare_with_timm(self, model: nn.Module) -> None:
        """Warn where timm normalises images otherwise for this network.

        The weights may be of another training than timm's.
        """
        network = getattr(model.backbone, 'timm_model', None)
        if network is None:
            return
        timm = {
            name: [255 * value for value in network.default_cfg[name]]
            for name in ('mean', 'std')
        }
        try:
            check_normalisation(model.data_preprocessor, timm)
        except ValueError as error:
            print_log(
                f'{error}, if {self.checkpoint} is as timm has trained it',
                'current',
                logging.WARNING,
            )

    def merge(self, rows: torch.Tensor) -> torch.Tensor:
        """Bring rows (S, ...) of the source head to the classes (K, ...).

        Raises:
            ValueError: If rows are out of range, or there is no ``class_map``
                although the numbers of classes differ.
        """
        if self.groups:
            return merge_rows(rows, self.groups)
        if len(rows) != len(self.classes):
            raise ValueError(
                f'the source head has {len(rows)} classes, '
                f'model.start.classes {len(self.classes)}: say with '
                'model.start.class_map which rows make up each class'
            )
        return rows

    def load(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        """Return the checkpoint under the names of an ``ImageClassifier``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no checkpoint of plain data, or no classifier.
        """
        # the command line that training loops save is data, too
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = CheckpointLoader.load_checkpoint(
                self.checkpoint, map_location='cpu'
            )
        state = unwrapped(inside(content))
        if any(name.startswith('backbone.') for name in state):
            return state
        if not hasattr(backbone, 'timm_model'):
            raise ValueError(
                f'model.start.checkpoint: {self.checkpoint} is no checkpoint '
                'of an MMPretrain classifier, none of its names begins with '
                "'backbone.'; the names of timm are read where "
                'model.backbone is a TIMMBackbone'
            )
        head = f'{backbone.timm_model.default_cfg["classifier"]}.'
        return {
            'head.fc.' + name[len(head) :]
            if name.startswith(head)
            else f'backbone.timm_model.{name}': value
            for name, value in state.items()
        }

    def _check_head(self, state: dict, head: nn.Module) -> None:
        """Compare the head's names, which tell which layers it consists of.

        Raises:
            ValueError: If the source's linear layers are not the model's.
        """
        found = {name for name in state if name.startswith('head.')}
        wanted = {f'head.{name}' for name, _ in head.named_parameters()}
        if found != wanted:
            raise ValueError(
                f'model.start.checkpoint: {self.checkpoint} gives '
                f'{sorted(found) or "no linear head"}, model.head takes '
                f'{sorted(wanted)}. Linear heads (of one layer) are supported '
                'with LinearPseudoLabelHead, the two of DeiT with '
                'DistilledPseudoLabelHead'
            )
