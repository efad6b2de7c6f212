"""CLIP models from where open_clip, OpenAI and their users keep them."""

import json
import zipfile
from pathlib import Path

import open_clip
import torch
import torch.nn as nn
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from ..checkpoints.plain import plain_data_only

# OpenAI's archives hold these beside the weights.
_JIT_SIZES = ('input_resolution', 'context_length', 'vocab_size')
_CONFIG_KEYS = ('embed_dim', 'vision_cfg', 'text_cfg')


def find_model(model: str) -> str:
    """Return an architecture's name, registered first if it is a file.

    Args:
        model: Name of an open_clip architecture, or the path of an open_clip
            model config (``.json``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no model config, or open_clip does not
            know the name.
    """
    path = Path(model).expanduser()
    if path.suffix == '.json':
        if not path.is_file():
            raise FileNotFoundError(f'model.start.model: no file {path}')
        _check_model_config(path)
        open_clip.add_model_config(path)
        model = path.stem
    if model not in open_clip.list_models():
        raise ValueError(
            f'model.start.model: open_clip knows no {model!r}. Give one '
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
    if not isinstance(config, dict) or any(
        name not in config for name in _CONFIG_KEYS
    ):
        raise ValueError(
            f'{key}: it must hold an object with {", ".join(_CONFIG_KEYS)}, '
            'as open_clip.get_model_config returns'
        )


def find_weights(model: str, pretrained: str) -> str:
    """Return the tag or the path of the weights.

    Raises:
        ValueError: If ``pretrained`` is neither.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained in tags:
        return pretrained
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise ValueError(
            f'model.start.pretrained: {pretrained!r} is neither a local '
            f'file nor a tag of {model}, which are: '
            f'{", ".join(tags) or "none"}'
        )
    return str(path)


def is_jit_archive(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI published CLIP."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            name.endswith('/constants.pkl') for name in archive.namelist()
        )


def has_quick_gelu(model: str, pretrained: str) -> bool:
    """Whether the weights were trained with QuickGELU.

    open_clip only warns where a tag and a model name disagree. OpenAI's
    archives, all trained with it, do not say so. Of any other file nothing
    but the model's config can tell.
    """
    if Path(pretrained).is_file() and is_jit_archive(pretrained):
        return True
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    config = open_clip.get_model_config(model)
    return bool(tag.get('quick_gelu') or config.get('quick_gelu'))


def preprocessing(model: str, pretrained: str) -> dict:
    """How the weights expect their images.

    A file does not say: it gets what all tags of its architecture agree on,
    or else open_clip's default.

    Returns:
        ``mean`` and ``std`` (RGB, for pixels in [0, 1]), ``interpolation``
        and ``resize_mode``.
    """
    tags = [pretrained]
    if Path(pretrained).is_file():
        tags = open_clip.list_pretrained_tags_by_model(model)
    found = []
    for tag in tags:
        config = merge_preprocess_dict(
            PreprocessCfg(), open_clip.get_pretrained_cfg(model, tag)
        )
        if config not in found:
            found.append(config)
    config = found[0] if len(found) == 1 else vars(PreprocessCfg())
    keys = ('mean', 'std', 'interpolation', 'resize_mode')
    return {key: config[key] for key in keys}


def load_clip(
    model: str, pretrained: str, image_size: int | None = None
) -> nn.Module:
    """Create an open_clip model with its weights, in eval mode.

    Weights are read as plain data; the one exception are TorchScript
    archives, which ``torch.jit.load`` reads and whose tensors alone are
    taken.

    Args:
        model: Name of an open_clip architecture.
        pretrained: A tag, fetched by open_clip, or a local file:
            ``.safetensors``, a state dict, or OpenAI's archive.
        image_size: Side of the images in pixels, if not the architecture's:
            open_clip resizes the position embeddings.

    Raises:
        ValueError: If a file is damaged or of another architecture.
        RuntimeError: If the weights of a tag cannot be fetched.
    """
    options = dict(
        force_quick_gelu=has_quick_gelu(model, pretrained),
        force_image_size=image_size,
    )
    local = Path(pretrained).is_file()
    try:
        with plain_data_only(pretrained):
            if local and is_jit_archive(pretrained):
                clip = open_clip.create_model(
                    model, load_weights=False, pretrained_text=False, **options
                )
                clip.load_state_dict(_read_jit_archive(pretrained, clip))
            else:
                clip = open_clip.create_model(
                    model, pretrained=pretrained, **options
                )
    except (ValueError, FileNotFoundError) as error:
        if local:
            raise ValueError(f'model.start.pretrained: {error}') from error
        source = open_clip.get_pretrained_cfg(model, pretrained)
        where = source.get('url') or source.get('hf_hub')
        raise RuntimeError(
            f'model.start.pretrained: the weights of {model} '
            f'({pretrained}) could not be fetched from {where}. '
            'Without a connection, bring the file here and set '
            "model.start.pretrained='/path/to/the/file'. "
            f'({error})'
        ) from error
    return clip.eval()


def _read_jit_archive(path: str, clip: nn.Module) -> dict[str, torch.Tensor]:
    """The weights in OpenAI's archive, at the size of ``clip``."""
    state = torch.jit.load(path, map_location='cpu').state_dict()
    state = {k: v for k, v in state.items() if k not in _JIT_SIZES}
    open_clip.model.resize_pos_embed(state, clip)
    return state
