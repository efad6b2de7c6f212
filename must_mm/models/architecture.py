"""Weights of another architecture are refused.

MMEngine loads what fits, logs the rest, and trains on noise.
"""

from collections.abc import Iterable, Mapping

import torch

_SHOWN = 5


def check_architecture(
    own: Mapping[str, torch.Tensor],
    given: Mapping[str, torch.Tensor],
    keys: str,
    surplus: Iterable[str] = (),
) -> None:
    """Raise if weights lack a tensor or have it in another shape.

    Position embeddings may differ: the backbone resizes them to its grid.

    Args:
        own: What the weights must hold, by name.
        given: The weights.
        keys: The config keys that describe the architecture, in words.
        surplus: Names of weights that the model has no place for.

    Raises:
        ValueError: If they do not match, with the first differences.
    """
    differences = [
        difference
        for name, tensor in own.items()
        if (difference := _difference(name, tensor, given.get(name)))
    ]
    differences += [f'{name} is not in the model' for name in surplus]
    if differences:
        shown = '; '.join(differences[:_SHOWN])
        more = '; ...' if len(differences) > _SHOWN else ''
        raise ValueError(
            'these weights are of another architecture '
            f'({shown}{more}). Make {keys} those of the checkpoint, or give '
            'another checkpoint'
        )


def _difference(name: str, own: torch.Tensor, given: object) -> str | None:
    """What is wrong with a given weight, if anything."""
    if given is None:
        return f'{name} is missing'
    if not isinstance(given, torch.Tensor):
        return f'{name} is no tensor'
    same = given.shape == own.shape
    if name.endswith('pos_embed') and given.ndim == own.ndim == 3:
        same = given.shape[::2] == own.shape[::2]
    if not same:
        return f'{name} is {tuple(given.shape)}, here {tuple(own.shape)}'
    return None
