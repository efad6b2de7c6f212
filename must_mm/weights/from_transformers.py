"""CLIP and SigLIP as transformers keeps them, under open_clip's names.

The functions are the same; names differ, query, key and value lie apart, and
projections are transposed.
"""

import re
from collections.abc import Iterator, Mapping

import torch

State = Mapping[str, torch.Tensor]

_LAYER = re.compile(r'(.*)encoder\.layers\.(\d+)\.(.*)')
_QKV = re.compile(r'self_attn\.([qkv])_proj\.(weight|bias)')
# A block's parts: transformers, open_clip's transformer, timm's.
_BLOCK = {
    'layer_norm1': ('ln_1', 'norm1'),
    'layer_norm2': ('ln_2', 'norm2'),
    'self_attn.out_proj': ('attn.out_proj', 'attn.proj'),
    'mlp.fc1': ('mlp.c_fc', 'mlp.fc1'),
    'mlp.fc2': ('mlp.c_proj', 'mlp.fc2'),
}
_CLIP = {
    'logit_scale': 'logit_scale',
    'text_model.embeddings.token_embedding.weight': 'token_embedding.weight',
    'text_model.embeddings.position_embedding.weight': 'positional_embedding',
    'text_model.final_layer_norm.weight': 'ln_final.weight',
    'text_model.final_layer_norm.bias': 'ln_final.bias',
    'text_projection.weight': 'text_projection',
    'vision_model.embeddings.class_embedding': 'visual.class_embedding',
    'vision_model.embeddings.patch_embedding.weight': 'visual.conv1.weight',
    'vision_model.embeddings.position_embedding.weight': (
        'visual.positional_embedding'
    ),
    # spelled so
    'vision_model.pre_layrnorm.weight': 'visual.ln_pre.weight',
    'vision_model.pre_layrnorm.bias': 'visual.ln_pre.bias',
    'vision_model.post_layernorm.weight': 'visual.ln_post.weight',
    'vision_model.post_layernorm.bias': 'visual.ln_post.bias',
    'visual_projection.weight': 'visual.proj',
}
_SIGLIP = {
    'logit_scale': 'logit_scale',
    'logit_bias': 'logit_bias',
    'text_model.embeddings.token_embedding.weight': (
        'text.token_embedding.weight'
    ),
    'text_model.embeddings.position_embedding.weight': (
        'text.positional_embedding'
    ),
    'text_model.final_layer_norm.weight': 'text.ln_final.weight',
    'text_model.final_layer_norm.bias': 'text.ln_final.bias',
    'text_model.head.weight': 'text.text_projection.weight',
    'text_model.head.bias': 'text.text_projection.bias',
    'vision_model.embeddings.patch_embedding.weight': (
        'visual.trunk.patch_embed.proj.weight'
    ),
    'vision_model.embeddings.patch_embedding.bias': (
        'visual.trunk.patch_embed.proj.bias'
    ),
    'vision_model.embeddings.position_embedding.weight': (
        'visual.trunk.pos_embed'
    ),
    'vision_model.post_layernorm.weight': 'visual.trunk.norm.weight',
    'vision_model.post_layernorm.bias': 'visual.trunk.norm.bias',
    'vision_model.head.probe': 'visual.trunk.attn_pool.latent',
    'vision_model.head.layernorm.weight': 'visual.trunk.attn_pool.norm.weight',
    'vision_model.head.layernorm.bias': 'visual.trunk.attn_pool.norm.bias',
    **{
        f'vision_model.head.{theirs}.{kind}': (
            f'visual.trunk.attn_pool.{ours}.{kind}'
        )
        for theirs, ours in (
            ('attention.out_proj', 'proj'),
            ('mlp.fc1', 'mlp.fc1'),
            ('mlp.fc2', 'mlp.fc2'),
        )
        for kind in ('weight', 'bias')
    },
}
_POOL = 'vision_model.head.attention.in_proj_'
_TRANSPOSED = ('text_projection.weight', 'visual_projection.weight')


def is_siglip(state: State) -> bool:
    """Whether it is SigLIP rather than CLIP: it pools by attention."""
    return 'vision_model.head.probe' in state


def from_transformers(state: State) -> dict[str, torch.Tensor]:
    """Rename the parameters of a ``CLIPModel`` or ``SiglipModel``.

    Args:
        state: Its state dict, without a prefix.

    Returns:
        The state dict of open_clip's model: of CLIP, or of SigLIP with a
        vision transformer of timm.

    Raises:
        ValueError: If a parameter is none of theirs, with its name.
    """
    siglip = is_siglip(state)
    converted = dict(_blocks(state, siglip))
    for name, value in state.items():
        # a table of 0, 1, 2, ... that older versions saved
        if name.endswith('embeddings.position_ids') or _LAYER.match(name):
            continue
        if siglip and name.startswith(_POOL):
            kind = name.removeprefix(_POOL)
            width = len(value) // 3
            pool = 'visual.trunk.attn_pool'
            converted[f'{pool}.q.{kind}'] = value[:width]
            converted[f'{pool}.kv.{kind}'] = value[width:]
            continue
        table = _SIGLIP if siglip else _CLIP
        if name not in table:
            raise ValueError(
                f'{name} is no parameter of '
                f'{"SiglipModel" if siglip else "CLIPModel"} in transformers'
            )
        if name in _TRANSPOSED:
            value = value.T.contiguous()
        elif table[name] == 'visual.trunk.pos_embed':
            value = value.unsqueeze(0)
        converted[table[name]] = value
    return converted


def _blocks(state: State, siglip: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """The transformers' blocks, query, key and value put together."""
    for name, value in state.items():
        layer = _LAYER.match(name)
        if not layer:
            continue
        tower, index, part = layer.groups()
        timm = siglip and tower == 'vision_model.'
        if timm:
            block = f'visual.trunk.blocks.{index}.'
        else:
            prefix = {
                'vision_model.': 'visual.',
                'text_model.': 'text.' * siglip,
            }[tower]
            block = f'{prefix}transformer.resblocks.{index}.'
        apart = _QKV.fullmatch(part)
        if apart:
            kind = apart[2]
            if apart[1] != 'q':
                continue  # with its query
            parts = [
                state[name.replace('.q_proj.', f'.{letter}_proj.')]
                for letter in 'qkv'
            ]
            joined = 'attn.qkv.' if timm else 'attn.in_proj_'
            yield block + joined + kind, torch.cat(parts)
            continue
        where, _, kind = part.rpartition('.')
        yield f'{block}{_BLOCK[where][timm]}.{kind}', value
