"""CLIP's vision tower as backbone, neck and head, name by name.

One table of names, read in both directions. CLIP keeps its embeddings
without a batch dimension; they are reshaped, everything else is carried over
as it is. Every parameter has to be accounted for and to have the shape that
the tower's sizes give it.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from ..checkpoints.earlier_names import rename_parts
from ..checkpoints.plain import load_tensors

State = Mapping[str, torch.Tensor]

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
_CLASSIFIER = {'classifier': 'head.classifier'}
_MASKING = {
    'mask_token_embedding': 'masking.token',
    'ln_patch.weight': 'ln_patch.weight',
    'ln_patch.bias': 'ln_patch.bias',
    'decoder.0.weight': 'decoder.decoder.0.weight',
    'decoder.0.bias': 'decoder.decoder.0.bias',
}
# Where the published code keeps them, and the scale it multiplies logits by.
_PUBLISHED_PREFIX = 'model.visual.'
_PUBLISHED_SCALE = 100.0


def name_table(
    num_layers: int, with_must: bool = False, masking: bool = True
) -> dict[str, str]:
    """Map the names in CLIP's vision tower to ours.

    Args:
        num_layers: Number of transformer blocks.
        with_must: Whether to include the classifier and the parts for
            masking, as the published MUST code names them.
        masking: Whether the latter are among MUST's parts; a model trained
            without masking has none.
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
    table = {**_SINGLE, **table}
    if with_must:
        table.update(_CLASSIFIER)
        if masking:
            table.update(_MASKING)
    return table


def from_clip(
    tower: State, with_must: bool = False, masking: bool = True
) -> dict[str, torch.Tensor]:
    """Convert the state dict of a plain CLIP vision transformer.

    Args:
        tower: Parameters of the vision tower, without a prefix.
        with_must: Whether ``tower`` includes MUST's own parts.
        masking: Whether those for masking are among them.

    Returns:
        Parameters of a MUST model's ``backbone`` and ``neck`` (and more with
        ``with_must``), in float32.

    Raises:
        ValueError: If a parameter is missing or unknown or has another shape
            than the tower's sizes give it, with its name.
    """
    table = name_table(_count_layers(tower), with_must, masking)
    _check_names(table, tower)
    _check_shapes(tower)
    converted = {}
    for clip, ours in table.items():
        value = tower[clip].detach().float()
        if ours == 'backbone.cls_token':
            value = value.reshape(1, 1, -1)
        elif ours == 'backbone.pos_embed':
            value = value.unsqueeze(0)
        converted[ours] = value
    return converted


def to_clip(
    state: State, with_must: bool = False, masking: bool = True
) -> dict[str, torch.Tensor]:
    """Undo :func:`from_clip`.

    Args:
        state: Parameters of ``backbone`` and ``neck`` (and more with
            ``with_must``).
        with_must: Whether ``state`` includes MUST's own parts.
        masking: Whether those for masking are among them.

    Returns:
        Parameters of a CLIP vision tower, without a prefix.

    Raises:
        ValueError: See :func:`from_clip`.
    """
    layers = {
        name.split('.')[2]
        for name in state
        if name.startswith('backbone.layers.')
    }
    table = name_table(len(layers), with_must, masking)
    _check_names(table.values(), state)
    tower = {clip: state[ours].detach() for clip, ours in table.items()}
    tower['class_embedding'] = tower['class_embedding'].flatten()
    tower['positional_embedding'] = tower['positional_embedding'].flatten(0, 1)
    _check_shapes(tower)
    return tower


def read_published(path: str | Path) -> dict:
    """Read a checkpoint of the published MUST code as plain data.

    It holds its command line in a ``Namespace``, which is data as well.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds anything but data.
    """
    with torch.serialization.safe_globals([argparse.Namespace]):
        return load_tensors(path)


def from_published(checkpoint: Mapping) -> dict[str, torch.Tensor]:
    """Convert a checkpoint of the published MUST code.

    Args:
        checkpoint: Its content: ``model`` with the student and, if there is
            one, ``model_ema`` with the teacher.

    Returns:
        The state dict of a MUST model. The teacher's parts for masking are
        left out: nothing reads them.

    Raises:
        ValueError: See :func:`from_clip`.
    """
    if 'model' not in checkpoint:
        raise ValueError(
            "a checkpoint of the published MUST code holds 'model', this one "
            f'holds {sorted(map(str, checkpoint))[:5]}'
        )
    state = _from_published(checkpoint['model'])
    if checkpoint.get('model_ema') is not None:
        teacher = _from_published(checkpoint['model_ema'])
        state.update(
            {
                f'teacher.{name}': value
                for name, value in teacher.items()
                if name not in _MASKING.values()
            }
        )
    return state


def to_published(state: State) -> dict[str, dict[str, torch.Tensor]]:
    """Undo :func:`from_published`.

    Args:
        state: The state dict of a MUST model with a plain CLIP vision
            transformer.

    Returns:
        ``model`` and, if ``state`` has a teacher, ``model_ema``. The
        teacher's parts for masking, which nothing reads, are the student's.

    Raises:
        ValueError: See :func:`from_clip`; and if the logits are not scaled
            by 100, as the published code does.
    """
    state = dict(state)
    rename_parts(state)
    teacher = {
        name.removeprefix('teacher.'): value
        for name, value in state.items()
        if name.startswith('teacher.')
    }
    student = {
        name: value
        for name, value in state.items()
        if not name.startswith('teacher.')
    }
    checkpoint = dict(model=_to_published(student))
    if teacher:
        masking = {
            name: student[name]
            for name in _MASKING.values()
            if name in student
        }
        checkpoint['model_ema'] = _to_published({**teacher, **masking})
    return checkpoint


def _from_published(model: State) -> dict[str, torch.Tensor]:
    model = {
        name.removeprefix('module.'): value for name, value in model.items()
    }
    elsewhere = [
        name for name in model if not name.startswith(_PUBLISHED_PREFIX)
    ]
    if elsewhere:
        raise ValueError(
            'the published MUST code names all parameters '
            f'{_PUBLISHED_PREFIX}..., these are others: {sorted(elsewhere)}'
        )
    tower = {
        name.removeprefix(_PUBLISHED_PREFIX): value
        for name, value in model.items()
    }
    state = from_clip(
        tower, with_must=True, masking='mask_token_embedding' in tower
    )
    state['head.logit_scale'] = torch.tensor(_PUBLISHED_SCALE)
    return state


def _to_published(state: State) -> dict[str, torch.Tensor]:
    state = {
        name: value
        for name, value in state.items()
        # the fairness loss's running average, restarted every epoch
        if not name.startswith('head.fairness_loss.')
    }
    scale = state.pop('head.logit_scale', torch.tensor(_PUBLISHED_SCALE))
    # exp of a logarithm stored in half precision
    if abs(float(scale) / _PUBLISHED_SCALE - 1) > 1e-3:
        raise ValueError(
            f'head.logit_scale is {float(scale):g}, the published MUST code '
            f'knows {_PUBLISHED_SCALE:g} only'
        )
    tower = to_clip(state, True, masking='masking.token' in state)
    return {_PUBLISHED_PREFIX + name: value for name, value in tower.items()}


def _count_layers(tower: State) -> int:
    return len(
        {
            name.split('.')[2]
            for name in tower
            if name.startswith('transformer.resblocks.')
        }
    )


def _check_names(expected, found) -> None:
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    if missing or unknown:
        raise ValueError(
            'this is no plain CLIP vision transformer with class token, '
            'pre-norm and projection'
            + (f'; missing: {missing}' if missing else '')
            + (f'; unknown: {unknown}' if unknown else '')
        )


def _check_shapes(tower: State) -> None:
    """Compare every shape with the one the tower's sizes give it."""

    def size(name: str, dim: int) -> int:
        shape = tower[name].shape if name in tower else ()
        return shape[dim] if dim < len(shape) else 0

    width, patch = size('conv1.weight', 0), size('conv1.weight', 2)
    embed = size('proj', 1)
    hidden = size('transformer.resblocks.0.mlp.c_fc.weight', 0)
    block = {
        'attn.in_proj_weight': (3 * width, width),
        'attn.in_proj_bias': (3 * width,),
        'attn.out_proj.weight': (width, width),
        'mlp.c_fc.weight': (hidden, width),
        'mlp.c_fc.bias': (hidden,),
        'mlp.c_proj.weight': (width, hidden),
    }
    shapes = {
        'conv1.weight': (width, 3, patch, patch),
        'positional_embedding': (size('positional_embedding', 0), width),
        'proj': (width, embed),
        'classifier': (embed, size('classifier', 1)),
        'mask_token_embedding': (1, 1, width),
        'decoder.0.weight': (3 * patch**2, width, 1, 1),
        'decoder.0.bias': (3 * patch**2,),
    }
    wrong = []
    for name, value in tower.items():
        kind = name.split('.', 3)[-1] if 'resblocks' in name else name
        # all others are of the tower's width: norms, biases, class embedding
        expected = {**shapes, **block}.get(kind, (width,))
        if tuple(value.shape) != expected:
            wrong.append(f'{name} is {tuple(value.shape)}, not {expected}')
    if wrong:
        raise ValueError(
            'the shapes are not those of one CLIP vision transformer: '
            + '; '.join(wrong)
        )
