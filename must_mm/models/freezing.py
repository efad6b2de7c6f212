"""Train a part of the model, leave the rest as it starts."""

from collections.abc import Sequence

import torch.nn as nn

from ..utils.validation import check_strings


def freeze_except(model: nn.Module, keep: Sequence[str]) -> None:
    """Freeze every parameter that ``keep`` does not name.

    What is frozen already, as the teacher is, stays frozen. It is done when
    the model is built: data-parallel wrappers and optimizers look at
    ``requires_grad`` when they are.

    Args:
        model: The model.
        keep: Types of layers (``'LayerNorm'``) or names of modules and
            parameters (``'head.classifier'``).

    Raises:
        ValueError: If an entry names nothing that could train.
        TypeError: If ``keep`` is not a list of strings.
    """
    check_strings('model.train_only', keep)
    owners = dict(model.named_modules())
    unused, trained = set(keep), set()
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        owner = type(owners[name.rpartition('.')[0]]).__name__
        hits = {
            entry
            for entry in keep
            if entry == owner or f'{name}.'.startswith(f'{entry}.')
        }
        unused -= hits
        if hits:
            trained.add(name)
    if unused:
        raise ValueError(
            f'model.train_only: {sorted(unused)} name no layer type and no '
            "module of the model, such as 'LayerNorm' or 'head.classifier'"
        )
    for name, param in model.named_parameters():
        param.requires_grad_(name in trained)
