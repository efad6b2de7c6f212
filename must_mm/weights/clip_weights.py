"""The weights of a CLIP model, loaded into open_clip's network."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn as nn

from ..checkpoints.plain import plain_data_only
from ..utils.lazy import lazy_import
from .clip_source import HUB, has_quick_gelu
from .kinds import (
    NoClip,
    check_file,
    clip_state,
    other_architecture,
    read_clip,
)
from .origin import CONFIG, is_jit_archive, local_file

open_clip = lazy_import('open_clip')

# OpenAI's archives hold these beside the weights.
_JIT_SIZES = ('input_resolution', 'context_length', 'vocab_size')


def load_clip(
    model: str, pretrained: str, image_size: int | None = None
) -> nn.Module:
    """Create an open_clip model with its weights, in eval mode.

    Weights are read as plain data; the one exception are TorchScript
    archives, which ``torch.jit.load`` reads and whose tensors alone are
    taken.

    Args:
        model: As :func:`find_model` returns it.
        pretrained: A tag, fetched by open_clip, or a local file:
            ``.safetensors``, a state dict, wrapped as training loops do or
            not, of open_clip or transformers; OpenAI's archive; big_vision's
            ``.npz``. Nothing for a model of the hub.
        image_size: Side of the images in pixels, if not the architecture's:
            open_clip resizes the position embeddings.

    Raises:
        ValueError: If a file is damaged or of another architecture.
        RuntimeError: If the weights of a tag cannot be fetched.
    """
    path = local_file(model, pretrained) or fetch(model, pretrained)
    # a tower of timm is resized with its weights, others by open_clip
    vision = open_clip.get_model_config(model)['vision_cfg']
    timm = 'timm_model_name' in vision
    try:
        with _without_alarm():
            clip = open_clip.create_model(
                model,
                load_weights=False,
                pretrained_text=False,
                force_quick_gelu=has_quick_gelu(model, pretrained),
                force_image_size=None if timm else image_size,
            )
        if path.suffix in ('.npz', '.npy'):
            with plain_data_only(path):
                open_clip.load_checkpoint(clip, str(path))
        else:
            check_file(path)
            _load(clip, path, model)
    except ValueError as error:
        raise ValueError(f'model.start.pretrained: {error}') from error
    if timm and image_size:
        clip.visual.set_input_size(image_size)
    return clip.eval()


def is_here(model: str, tag: str) -> bool:
    """Whether the weights of a tag or of the hub were fetched before.

    Nothing is fetched to find out.
    """
    from huggingface_hub import try_to_load_from_cache

    config = _published(model, tag)
    if not config.get('hf_hub'):
        name = config['url'].rpartition('/')[2]
        return (Path('~/.cache/clip').expanduser() / name).is_file()
    repo, _, name = config['hf_hub'].rpartition('/')
    names = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin']
    if name:
        names = [name, str(Path(name).with_suffix('.safetensors'))]
    found = (try_to_load_from_cache(repo, one) for one in names)
    return any(isinstance(path, str) for path in found)


def _published(model: str, tag: str) -> dict:
    """Where open_clip has weights from: ``hf_hub``, ``url`` or both."""
    if model.startswith(HUB):
        return dict(hf_hub=f'{model.removeprefix(HUB)}/')
    return open_clip.get_pretrained_cfg(model, tag)


def fetch(model: str, tag: str) -> Path:
    """The file of a tag or of the hub, fetched by open_clip if need be.

    Raises:
        RuntimeError: If it cannot be fetched, with where it is.
    """
    from open_clip import pretrained

    config = _published(model, tag)
    if model.startswith(HUB):
        where = model.removeprefix(HUB)
        what = model
        advice = f'model.start.model to the folder with them and {CONFIG}'
    else:
        what = f'{model} ({tag})'
        where = ' or '.join(
            config[key] for key in ('hf_hub', 'url') if config.get(key)
        )
        advice = "model.start.pretrained='/path/to/the/file'"
        if config.get('hf_hub'):
            advice += f' (from a hub, with {CONFIG} in the same folder)'
    try:
        return Path(pretrained.download_pretrained(config))
    except Exception as error:  # urllib's, the hub's, a checksum's
        raise RuntimeError(
            f'model.start.pretrained: the weights of {what} could not be '
            f'fetched from {where}. Without a connection, bring the file '
            f'here and set {advice}. ({error})'
        ) from error


@contextmanager
def _without_alarm() -> Iterator[None]:
    """Drop open_clip's warning of a random model: weights come later."""

    def wanted(record: logging.LogRecord) -> bool:
        return 'nitialized randomly' not in record.getMessage()

    logging.getLogger().addFilter(wanted)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(wanted)


def _load(clip: nn.Module, path: Path, model: str) -> None:
    """Load weights strictly, position embeddings resized.

    Raises:
        ValueError: If the file is no CLIP or of another architecture.
    """
    if is_jit_archive(path):
        archive = torch.jit.load(path, map_location='cpu').state_dict()
        try:
            state = clip_state(
                {k: v for k, v in archive.items() if k not in _JIT_SIZES}
            )
        except NoClip as error:
            raise ValueError(f'{path} {error}') from error
    else:
        state = read_clip(path)
    other = other_architecture(state, open_clip.get_model_config(model), model)
    if other:
        raise ValueError(f'{path} {other}')
    state = open_clip.convert.convert_state_dict(clip, state)
    if 'positional_embedding' in state and not hasattr(
        clip, 'positional_embedding'
    ):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    for name in ('logit_scale', 'logit_bias'):
        own = getattr(clip, name, None)
        if own is None:
            state.pop(name, None)  # a constant moves no softmax
        elif name in state:
            state[name] = state[name].reshape(own.shape)
        else:
            state[name] = torch.zeros_like(own)
    own = clip.state_dict()
    for name in list(state):
        # a table of 0, 1, 2, ... that older versions of transformers saved
        if name.endswith('position_ids') and name not in own:
            del state[name]
    open_clip.model.resize_pos_embed(state, clip)
    open_clip.model.resize_text_pos_embed(state, clip)
    wrong = _differences(state, own)
    if wrong:
        raise ValueError(
            f'{path} is of another architecture than {model}: {wrong}. Give '
            'its architecture as --model'
        )
    clip.load_state_dict(state)


def _differences(state: dict, own: dict) -> str:
    """In a few words, which parameters do not fit."""
    lacking = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shaped = [
        f'{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}'
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    return '; '.join(
        f'{what} {", ".join(names[:2])}'
        + f' and {len(names) - 2} more' * (len(names) > 2)
        for what, names in (
            ('lacks', lacking),
            ('has', unknown),
            ('', shaped),
        )
        if names
    )
