"""CLIP models from where open_clip, OpenAI and their users keep them."""

import importlib.util
import json
from pathlib import Path

from ..utils.lazy import lazy_import
from .kinds import (
    check_file,
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
