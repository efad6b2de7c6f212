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
    """Refuse weights that lack a tensor or have it in another shape.

    Position embeddings may differ: the backbone resizes them to its grid.

    Args:
        own: What the weights must hold, by name.
        given: The weights.
        keys: The config keys that describe the architecture, in words.
        surplus: Names of weights that the model has no place for.

    Raises:
        ValueError: If they do not match, with the first differences.
    """
    differences = [f'{name} is missing' for name in own if name not in given]
    differences += [
        f'{name} is {tuple(given[name].shape)}, here {tuple(tensor.shape)}'
        for name, tensor in own.items()
        if name in given
        and not name.endswith('pos_embed')
        and given[name].shape != tensor.shape
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
