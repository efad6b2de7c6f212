"""What a state dict is of, told by its names; and which CLIP it would fit."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoints.containers import explain
from ..checkpoints.plain import load_tensors
from ..utils.lazy import lazy_import
from .from_transformers import from_transformers

open_clip = lazy_import('open_clip')

State = Mapping[str, torch.Tensor]

# Where training loops keep a state dict within a checkpoint.
_INSIDE = ('state_dict', 'model_state_dict', 'model', 'module', 'net')
# What wrappers of modules put into names, anywhere.
_INFIXES = (
    '_orig_mod.',
    '_fsdp_wrapped_module.',
    '_checkpoint_wrapped_module.',
)
# Both towers of a CLIP: open_clip's names, Apple's MobileCLIP, transformers'.
_TOWERS = (
    ('visual.', ('token_embedding.', 'text.', 'transformer.')),
    ('image_encoder.', ('text_encoder.',)),
    ('vision_model.', ('text_model.',)),
)
_SCALE = 'logit_scale'
_WHOLE = (
    'the start needs a whole CLIP or SigLIP, image and text tower, as '
    'open_clip, OpenAI or transformers keep it'
)
_LABELLED = (
    'A classifier that was trained with labels starts from a MUST config '
    'with ClassifierStart'
)


class NoClip(ValueError):
    """A state dict that is not of CLIP, with what it is."""


def inside(content: Mapping) -> State:
    """The state dict within a checkpoint, as training loops wrap it."""
    for _ in range(3):
        if any(isinstance(value, torch.Tensor) for value in content.values()):
            break
        dicts = [
            name
            for name in (*_INSIDE, *map(str, content))
            if isinstance(content.get(name), Mapping)
            and _has_tensors(content[name])
        ]
        if not dicts:
            break
        content = content[dicts[0]]
    return content


def _has_tensors(content: Mapping, depth: int = 2) -> bool:
    return any(
        isinstance(value, torch.Tensor)
        or (depth and isinstance(value, Mapping) and _has_tensors(value, 0))
        for value in content.values()
    )


def unwrapped(state: Mapping) -> dict[str, torch.Tensor]:
    """Take off what wrappers put before and into names.

    The prefix is found, not guessed: it stands before the logit scale and
    both towers. What else lies in the file (a loss, an optimizer) is left.
    """
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
        name = str(name)
        for infix in _INFIXES:
            name = name.replace(infix, '')
        tensors[name] = value
    prefixes = [
        name.removesuffix(_SCALE) for name in tensors if name.endswith(_SCALE)
    ]
    for prefix in sorted(prefixes, key=len):
        own = {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        if _is_clip(own):
            return own
    return tensors


def _begins(state: Mapping, *prefixes: str) -> bool:
    return any(str(name).startswith(prefixes) for name in state)


def _is_clip(state: State) -> bool:
    return _SCALE in state and any(
        _begins(state, image) and _begins(state, *text)
        for image, text in _TOWERS
    )


def clip_state(content: Mapping) -> dict[str, torch.Tensor]:
    """A CLIP's parameters under open_clip's names.

    Args:
        content: What a file of weights holds.

    Raises:
        NoClip: If it holds no whole CLIP, with what it is.
    """
    state = unwrapped(inside(content))
    if not _is_clip(state):
        raise NoClip(f'is {_stranger(content, state)}')
    if _begins(state, 'vision_model.'):
        try:
            return from_transformers(state)
        except (KeyError, ValueError) as error:
            raise NoClip(
                'is of transformers, but neither its CLIPModel nor its '
                f'SiglipModel ({error}): {_WHOLE}'
            ) from error
    return state


def _stranger(content: Mapping, state: State) -> str:
    """What weights are that are no CLIP, and what to do."""
    if not state:
        return f'no weights, it holds no tensor: {_WHOLE}'
    whole = _WHOLE
    if _begins(state, 'backbone.', 'teacher.backbone.'):
        if 'optimizer' in content or 'message_hub' in content:
            return (
                'a checkpoint of a run of MMEngine: go on with the run by '
                f'--resume. {whole[0].upper()}{whole[1:]}'
            )
        return (
            'a classifier of MMPretrain, such as must-adapt exports: it has '
            'no text tower to take other class names with. Load it with its '
            f'config to classify; to adapt again, give the CLIP it began '
            f'with. {_LABELLED}'
        )
    if any('lora_' in name for name in state):
        return f'a LoRA adapter: merge it into its model first; {whole}'
    if _begins(state, 'model.visual.') or (
        _begins(state, 'visual.') and 'visual.classifier' in state
    ):
        return f"a checkpoint of MUST's published code: {whole}"
    if _begins(
        state, 'visual.', 'vision_model.', 'conv1.', 'class_embedding'
    ) and not _begins(state, 'layer1.'):
        return f'a vision tower alone: {whole}'
    if _begins(state, 'text_model.', 'text.', 'token_embedding.'):
        return f'a text tower alone: {whole}'
    if _begins(state, 'patch_embed.', 'blocks.', 'stem.', 'stages.'):
        return f'a network of timm without a text tower: {whole}. {_LABELLED}'
    if _begins(state, 'layer1.', 'features.', 'encoder.layers.'):
        return (
            f'a network of torchvision or the like without a text tower: '
            f'{whole}. {_LABELLED}'
        )
    first = ', '.join(list(state)[:2])
    return f'of another network, its names begin with {first}: {whole}'


def read_clip(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a file of weights as a CLIP under open_clip's names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or no CLIP, with what it is.
    """
    # the command line that training loops save is data, too
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = load_tensors(path)
    try:
        return clip_state(content)
    except NoClip as error:
        raise ValueError(f'{path} {error}') from error


def check_file(path: str | Path) -> None:
    """Look at a file's first bytes.

    Raises:
        ValueError: If it cannot hold weights, with what it is.
    """
    stranger = explain(path)
    if stranger:
        raise ValueError(f'{path} {stranger}')


@dataclass(frozen=True)
class Sizes:
    """Sizes of a CLIP with transformers, as far as they are known.

    Attributes:
        width: Channels of the vision tower.
        layers: Its blocks.
        patch: Side of its patches, in pixels.
        image: Side of its images, in pixels.
        text: Channels of the text tower.
        embed: Width of the joint space.
    """

    width: int | None
    layers: int | None
    patch: int | None
    image: int | None
    text: int | None
    embed: int | None

    def __str__(self) -> str:
        return (
            f'{self.width} channels, {self.layers} blocks, patches of '
            f'{self.patch} pixels, joint space of {self.embed}'
        )

    def fits(self, other: 'Sizes') -> bool:
        """Whether weights fit, images of whatever size."""
        return all(
            None in (mine, theirs) or mine == theirs
            for name in ('width', 'layers', 'patch', 'text', 'embed')
            for mine, theirs in [(getattr(self, name), getattr(other, name))]
        )


def sizes_of_weights(state: State) -> Sizes | None:
    """Read them from a state dict; ``None`` where there is no transformer."""
    if 'visual.conv1.weight' in state and _begins(
        state, 'visual.transformer.'
    ):
        stem, blocks = 'visual.conv1.weight', 'visual.transformer.resblocks.'
        grid, extra = state.get('visual.positional_embedding'), 1
        grid = None if grid is None else len(grid)
    elif 'visual.trunk.patch_embed.proj.weight' in state:
        stem, blocks = (
            'visual.trunk.patch_embed.proj.weight',
            'visual.trunk.blocks.',
        )
        grid = state.get('visual.trunk.pos_embed')
        grid = None if grid is None or grid.ndim != 3 else grid.shape[1]
        extra = int('visual.trunk.cls_token' in state)
    else:
        return None
    width, _, patch, _ = state[stem].shape
    depth = len(blocks.split('.')) - 1
    layers = len({n.split('.')[depth] for n in state if n.startswith(blocks)})
    text = next(
        (v.shape[1] for n, v in state.items() if n.endswith(_TOKENS)), None
    )
    projection = state.get('visual.proj')
    return Sizes(
        width,
        layers,
        patch,
        None if grid is None else math.isqrt(grid - extra) * patch,
        text,
        None if projection is None else projection.shape[1],
    )


_TOKENS = 'token_embedding.weight'


def sizes_of_config(architecture: Mapping) -> Sizes | None:
    """Those of an open_clip model config with its own transformers."""
    vision, text = architecture['vision_cfg'], architecture['text_cfg']
    image = vision.get('image_size')
    if 'timm_model_name' in vision or not isinstance(
        vision.get('layers'), int
    ):
        return Sizes(None, None, None, image, None, None)
    return Sizes(
        vision['width'],
        vision['layers'],
        vision['patch_size'],
        image,
        text.get('width') if 'hf_model_name' not in text else None,
        architecture['embed_dim'],
    )


def other_architecture(
    state: State, architecture: Mapping, model: str
) -> str | None:
    """Say of which sizes weights are that do not fit, and what they fit.

    Args:
        state: Weights under open_clip's names.
        architecture: The open_clip model config.
        model: Its name, for the text.

    Returns:
        A text to stand behind the file's name; ``None`` if nothing is wrong
        so far as sizes tell.
    """
    found, wanted = sizes_of_weights(state), sizes_of_config(architecture)
    plain = 'visual.conv1.weight' in state and found is not None
    if plain == (wanted.width is not None) and (
        found is None or found.fits(wanted)
    ):
        return None
    if found is None and wanted.width is None:
        return None
    what = str(found) if found else 'a tower that is no transformer'
    fitting = found and fitting_models(found, plain)
    return f'is of another architecture than {model}: {what}. ' + (
        f'Give --model {" or ".join(fitting)}'
        if fitting
        else 'Give its architecture as --model'
    )


def fitting_models(sizes: Sizes, plain: bool = True, most: int = 4) -> list:
    """Names of open_clip's architectures of these sizes, the nearest first."""
    found = []
    for name in open_clip.list_models():
        other = sizes_of_config(open_clip.get_model_config(name))
        if (other.width is not None) == plain and plain and sizes.fits(other):
            found.append((other.image != sizes.image, len(name), name))
    return [name for _, _, name in sorted(found)[:most]]
