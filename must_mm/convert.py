"""CLIP's vision tower as backbone, neck and head, name by name.

One table of names, read in both directions. CLIP keeps its embeddings
without a batch dimension; they are reshaped, everything else is carried over
as it is, and every parameter has to be accounted for.
"""

from collections.abc import Mapping

import torch

_BLOCK = {
    'ln_1.': 'ln1.',
    'ln_2.': 'ln2.',
    'attn.in_proj_': 'attn.qkv.',
    'attn.out_proj.': 'attn.proj.',
    'mlp.c_fc.': 'ffn.layers.0.0.',
    'mlp.c_proj.': 'ffn.layers.1.',
}
_NORMS = {'ln_pre.': 'backbone.pre_norm.', 'ln_post.': 'neck.ln_post.'}
_SINGLE = {
    'class_embedding': 'backbone.cls_token',
    'positional_embedding': 'backbone.pos_embed',
    'conv1.weight': 'backbone.patch_embed.projection.weight',
    'proj': 'neck.proj',
}
# The parts that MUST adds, under the names of its published code.
_MUST = {
    'classifier': 'head.classifier',
    'mask_token_embedding': 'mask_token.token',
    'ln_patch.weight': 'ln_patch.weight',
    'ln_patch.bias': 'ln_patch.bias',
    'decoder.0.weight': 'decoder.decoder.0.weight',
    'decoder.0.bias': 'decoder.decoder.0.bias',
}


def name_table(num_layers: int, with_must: bool = False) -> dict[str, str]:
    """Map the names in CLIP's vision tower to ours.

    Args:
        num_layers: Number of transformer blocks.
        with_must: Whether to include the classifier and the parts for
            masking, as the published MUST code names them.
    """
    prefixes = dict(_NORMS)
    for index in range(num_layers):
        for clip, ours in _BLOCK.items():
            prefixes[f'transformer.resblocks.{index}.{clip}'] = (
                f'backbone.layers.{index}.{ours}'
            )
    table = {
        clip + kind: ours + kind
        for clip, ours in prefixes.items()
        for kind in ('weight', 'bias')
    }
    return {**_SINGLE, **table, **(_MUST if with_must else {})}


def from_clip(
    tower: Mapping[str, torch.Tensor], with_must: bool = False
) -> dict[str, torch.Tensor]:
    """Convert the state dict of a plain CLIP vision transformer.

    Args:
        tower: Parameters of the vision tower, without a prefix.
        with_must: Whether ``tower`` includes MUST's own parts.

    Returns:
        Parameters of a MUST model's ``backbone`` and ``neck`` (and more with
        ``with_must``).

    Raises:
        ValueError: If a parameter is missing or unknown, with its name.
    """
    blocks = {
        name.split('.')[2]
        for name in tower
        if name.startswith('transformer.resblocks.')
    }
    table = name_table(len(blocks), with_must)
    missing, unknown = set(table) - set(tower), set(tower) - set(table)
    if missing or unknown:
        raise ValueError(
            'this is no plain CLIP vision transformer with class token, '
            'pre-norm and projection'
            + (f'; missing: {sorted(missing)}' if missing else '')
            + (f'; unknown: {sorted(unknown)}' if unknown else '')
        )
    converted = {}
    for clip, ours in table.items():
        value = tower[clip].detach().float()
        if ours == 'backbone.cls_token':
            value = value.reshape(1, 1, -1)
        elif ours == 'backbone.pos_embed':
            value = value.unsqueeze(0)
        converted[ours] = value
    return converted
