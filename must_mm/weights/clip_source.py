"""CLIP models from where open_clip, OpenAI and their users keep them."""

import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn as nn

from ..checkpoints.plain import plain_data_only
from ..utils.lazy import lazy_import
from .kinds import (
    NoClip,
    check_file,
    clip_state,
    other_architecture,
    read_clip,
    sizes_of_config,
    sizes_of_weights,
)
from .origin import (
    CONFIG,
    config_file,
    function_of,
    is_jit_archive,
    local_file,
    published_by_hash,
    read_config,
)

open_clip = lazy_import('open_clip')

# OpenAI's archives hold these beside the weights.
_JIT_SIZES = ('input_resolution', 'context_length', 'vocab_size')
_CONFIG_KEYS = ('embed_dim', 'vision_cfg', 'text_cfg')
HUB, FOLDER = 'hf-hub:', 'local-dir:'
# The files of a folder, the likeliest first.
_FILES = (
    'open_clip_model.safetensors',
    'open_clip_pytorch_model.safetensors',
    'open_clip_pytorch_model.bin',
    'model.safetensors',
    'pytorch_model.bin',
)
_SUFFIXES = ('.safetensors', '.bin', '.pt', '.pth')


def brings_weights(model: str) -> bool:
    """Whether a model is named with its weights: a folder or the hub's."""
    return model.startswith((HUB, FOLDER)) or (
        model not in open_clip.list_models()
        and Path(model).expanduser().is_dir()
    )


def find_model(model: str) -> str:
    """Return what open_clip takes as a model, registered first if need be.

    Args:
        model: Name of an open_clip architecture; path of an open_clip model
            config (``.json``); ``hf-hub:OWNER/NAME``; a folder with an
            ``open_clip_config.json``, as such or as ``local-dir:FOLDER``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no model config, or open_clip does not
            know the name.
    """
    key = 'model.start.model'
    path = Path(model.removeprefix(FOLDER)).expanduser()
    if model in open_clip.list_models():
        return model
    if model.startswith(HUB):
        if model.count('/') != 1 or not all(
            model.removeprefix(HUB).split('/')
        ):
            raise ValueError(f'{key}: {model!r} is not hf-hub:OWNER/NAME')
        return model
    if path.name == CONFIG and path.is_file():
        path = path.parent
    if path.is_dir() or model.startswith(FOLDER):
        config = path.resolve() / CONFIG
        if not config.is_file():
            raise FileNotFoundError(
                f'{key}: the folder {path} has no {CONFIG}, which says what '
                'its weights are of; give the architecture as the model and '
                'the file of weights as pretrained'
            )
        try:
            _check_keys(read_config(config)['model_cfg'], config)
        except ValueError as error:
            raise ValueError(f'{key}: {error}') from error
        return FOLDER + str(path.resolve())
    if path.suffix == '.json':
        if not path.is_file():
            raise FileNotFoundError(f'{key}: no file {path}')
        _check_model_config(path)
        open_clip.add_model_config(path)
        model = path.stem
    if model not in open_clip.list_models():
        raise ValueError(
            f'{key}: open_clip knows no {model!r}. Give one '
            'of open_clip.list_models(), such as ViT-B-16, or the path '
            'of an open_clip model config (.json)'
        )
    return model


def _check_model_config(path: Path) -> None:
    """Refuse a file that open_clip would pass over, or stumble on for good.

    Raises:
        ValueError: If it is no JSON, or lacks what open_clip asks for.
    """
    key = f'model.start.model: {path} is no open_clip model config'
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{key}: it is no JSON ({error})') from error
    if isinstance(config, dict) and 'model_cfg' in config:
        raise ValueError(
            f'{key}: it is the config of a folder of weights; name it '
            f'{CONFIG} and give the folder'
        )
    if isinstance(config, dict) and 'model_type' in config:
        raise ValueError(
            f"{key}: it is transformers'; give the architecture by name, "
            'such as ViT-B-16, and the file beside it as the weights'
        )
    try:
        _check_keys(config, path)
    except ValueError as error:
        raise ValueError(f'model.start.model: {error}') from error


def _check_keys(config: object, path: Path) -> None:
    if not isinstance(config, dict) or any(
        name not in config for name in _CONFIG_KEYS
    ):
        raise ValueError(
            f'{path} is no open_clip model config: it must hold an object '
            f'with {", ".join(_CONFIG_KEYS)}, as open_clip.get_model_config '
            'returns'
        )


def find_weights(model: str, pretrained: str | None) -> str:
    """Return the tag or the path of the weights.

    Args:
        model: As :func:`find_model` returns it.
        pretrained: A tag; a file; a folder with one of the names that
            weights have; nothing for a model that brings its own.

    Returns:
        A tag, a path, or nothing for weights of the Hugging Face hub.

    Raises:
        ValueError: If ``pretrained`` is nothing of that.
    """
    key = 'model.start.pretrained'
    if model.startswith(HUB):
        if pretrained:
            raise ValueError(
                f'{key}: {model} brings its own weights, leave {pretrained!r} '
                'out'
            )
        return ''
    if model.startswith(FOLDER) and not pretrained:
        pretrained = model.removeprefix(FOLDER)
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained in tags:
        return pretrained
    path = Path(pretrained or '').expanduser()
    if pretrained and path.is_dir():
        path = _weights_in(path)
    if not pretrained or not path.is_file():
        raise ValueError(
            f'{key}: {pretrained!r} is neither a local '
            f'file nor a tag of {model}, which are: '
            f'{", ".join(tags) or "none"}'
        )
    return str(path.resolve())


def _weights_in(folder: Path) -> Path:
    """The file of weights in a folder.

    Raises:
        ValueError: If there is none, or one cannot be chosen.
    """
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES)
    if len(found) != 1:
        raise ValueError(
            f'model.start.pretrained: the folder {folder} has '
            + (
                f'several files of weights ({", ".join(p.name for p in found)}'
                '): give one of them'
                if found
                else f'no file of weights, such as {_FILES[0]}'
            )
        )
    return found[0]


def needs_transformers(model: str) -> bool:
    """Whether open_clip reads a model's texts with transformers."""
    text = (open_clip.get_model_config(model) or {}).get('text_cfg', {})
    return bool(
        text.get('hf_tokenizer_name')
        or text.get('hf_model_name')
        or ('siglip' in model.lower() and ':' not in model)
    )


def check_source(model: str, pretrained: str, fetch: bool = True) -> list[str]:
    """Look at model and weights before any work; no weights are fetched.

    Of a local file the bytes that tell its kind are read, and its tensors'
    names and sizes.

    Args:
        model: As :func:`find_model` returns it.
        pretrained: As :func:`find_weights` returns it.
        fetch: Whether the config of a model of the hub may be fetched.

    Returns:
        What the user should know, in sentences.

    Raises:
        ImportError: If transformers is needed and missing.
        ValueError: If the file is none of weights, or of another model, or
            the config of a model of the hub is not here.
    """
    if model.startswith(HUB) and not _is_here(model):
        _fetch_config(model, fetch)
    if needs_transformers(model) and not importlib.util.find_spec(
        'transformers'
    ):
        raise ImportError(
            f'model.start.model: the class names of {model} are read by the '
            'tokenizer of transformers, which is missing: pip install '
            '"must_mm[siglip]"'
        )
    path = local_file(model, pretrained)
    if path is None:
        return []
    key = 'model.start.pretrained'
    architecture = open_clip.get_model_config(model)
    try:
        check_file(path)
        state = None
        if path.suffix not in ('.npz', '.npy') and not is_jit_archive(path):
            state = read_clip(path)
            other = other_architecture(state, architecture, model)
            published = other and published_by_hash(path)
            if published:
                other = (
                    f"is open_clip's {published[0]}, {published[1]}: give "
                    f'--model {published[0]}'
                )
            if other:
                raise ValueError(f'{path} {other}')
    except ValueError as error:
        raise ValueError(f'{key}: {error}') from error
    notes = [function_of(model, pretrained).doubt]
    found = state and sizes_of_weights(state)
    wanted = sizes_of_config(architecture).image
    if found and wanted and found.image not in (None, wanted):
        notes.append(
            f'{path.name} was trained on images of {found.image} pixels, '
            f'{model} takes {wanted}: its position embeddings are resized, '
            'which costs accuracy'
        )
    return [note for note in notes if note]


def _is_here(model: str) -> bool:
    """Whether the config of a model of the hub has been fetched before."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.removeprefix(HUB), CONFIG)
    return isinstance(found, str)


def _fetch_config(model: str, fetch: bool) -> None:
    """Fetch the config of a model of the hub.

    Raises:
        ValueError: If that may not be, or fails.
    """
    reason = 'it is not here, and nothing is fetched now'
    if fetch:
        try:
            read_config(config_file(model))
            return
        except (OSError, ValueError) as error:
            reason = f'its {CONFIG} could not be fetched ({error})'
    raise ValueError(
        f'model.start.model: {model}: {reason}. Without a connection, bring '
        f'{CONFIG} and its weights here and give their folder'
    )


def has_quick_gelu(model: str, pretrained: str) -> bool:
    """Whether the weights were trained with QuickGELU."""
    return function_of(model, pretrained).quick_gelu


def preprocessing(model: str, pretrained: str) -> dict:
    """How the weights expect their images.

    Returns:
        ``mean`` and ``std`` (RGB, for pixels in [0, 1]), ``interpolation``
        and ``resize_mode``.
    """
    return function_of(model, pretrained).preprocessing


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
    path = local_file(model, pretrained) or _fetch(model, pretrained)
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


def _fetch(model: str, tag: str) -> Path:
    """The file of a tag or of the hub, fetched by open_clip if need be.

    Raises:
        RuntimeError: If it cannot be fetched, with where it is.
    """
    from open_clip import pretrained

    if model.startswith(HUB):
        where = model.removeprefix(HUB)
        what, config = model, dict(hf_hub=f'{where}/')
        advice = f'model.start.model to the folder with them and {CONFIG}'
    else:
        what = f'{model} ({tag})'
        config = open_clip.get_pretrained_cfg(model, tag)
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
