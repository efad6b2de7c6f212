"""Which function weights compute, where their tensors do not tell.

The activation (QuickGELU or GELU) and how images are prepared (mean, std,
resizing) belong to the weights and not to the architecture: of one
architecture, some weights were trained with one, others with another. A tag
of open_clip says which. A file is known by its hash, by an
``open_clip_config.json`` or transformers' ``config.json`` beside it, or by
the name that it was published under.
"""

import functools
import hashlib
import json
import re
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.whole_file import write_whole
from ..utils.lazy import lazy_import
from ..utils.paths import cache_folder

open_clip = lazy_import('open_clip')

_KEYS = ('mean', 'std', 'interpolation', 'resize_mode')
CONFIG = 'open_clip_config.json'
_HUB_FOLDER = re.compile(r'models--(.+)')
# every publisher's files on the hub have such names
_ANYONES = re.compile(
    r'(open_clip_)?(pytorch_)?(model|pytorch_model)\.(bin|pt|pth|safetensors)'
)
_NORMALISATIONS = {
    (0.48145466, 0.4578275, 0.40821073): "CLIP's normalisation",
    (0.5, 0.5, 0.5): 'normalisation by 0.5 and 0.5',
    (0.485, 0.456, 0.406): "ImageNet's normalisation",
    (0.0, 0.0, 0.0): 'no normalisation',
}
_RESIZES = {
    'shortest': 'shorter side resized',
    'squash': 'both sides resized',
    'longest': 'longer side resized',
}


@dataclass(frozen=True)
class Function:
    """What weights compute beside what their tensors say.

    Attributes:
        quick_gelu: Whether the activation is QuickGELU.
        preprocessing: ``mean`` and ``std`` (RGB, for pixels in [0, 1]),
            ``interpolation`` and ``resize_mode``.
        known: How this is known.
        doubt: What the user should look at; empty where nothing is guessed.
    """

    quick_gelu: bool
    preprocessing: dict
    known: str
    doubt: str = ''

    def __str__(self) -> str:
        mean = tuple(self.preprocessing['mean'])
        return ', '.join(
            (
                'QuickGELU' if self.quick_gelu else 'GELU',
                _NORMALISATIONS.get(mean, f'mean {mean}'),
                f'{_RESIZES[self.preprocessing["resize_mode"]]} '
                f'({self.preprocessing["interpolation"]})',
            )
        )


def function_of(model: str, pretrained: str) -> Function:
    """Find out which function weights compute.

    Args:
        model: What open_clip takes as a model: the name of an architecture,
            ``hf-hub:...`` or ``local-dir:...``.
        pretrained: A tag, a local file, or nothing where the model brings its
            own weights.
    """
    path = local_file(model, pretrained)
    if path is None:
        return _of_tag(model, pretrained)
    stat = path.stat()
    return _of_file(model, path, stat.st_size, stat.st_mtime_ns)


def local_file(model: str, pretrained: str) -> Path | None:
    """The file that weights are in; ``None`` for a tag or the hub's."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not pretrained or pretrained in tags:
        return None
    path = Path(pretrained).expanduser()
    return path if path.is_file() else None


def _architecture(model: str) -> dict:
    return open_clip.get_model_config(model) or {}


def _preprocessing(*given: dict) -> dict:
    merged = vars(open_clip.transform.PreprocessCfg())
    for config in given:
        merged = open_clip.transform.merge_preprocess_dict(merged, config)
    return {key: merged[key] for key in _KEYS}


def _of_tag(model: str, tag: str) -> Function:
    if model.startswith(('hf-hub:', 'local-dir:')):
        config = read_config(config_file(model))
        return _of_config(config, f'its {CONFIG}')
    config = open_clip.get_pretrained_cfg(model, tag)
    return Function(
        bool(config.get('quick_gelu'))
        or bool(_architecture(model).get('quick_gelu')),
        _preprocessing(config),
        f'the tag {tag} of open_clip',
    )


def _of_config(config: dict, known: str) -> Function:
    return Function(
        bool(config['model_cfg'].get('quick_gelu')),
        _preprocessing(config.get('preprocess_cfg') or {}),
        known,
    )


def config_file(model: str) -> Path:
    """The ``open_clip_config.json`` of a folder or of the Hugging Face hub.

    Args:
        model: ``hf-hub:OWNER/NAME``, fetched if it is not there, or
            ``local-dir:FOLDER``.

    Raises:
        FileNotFoundError: If there is none.
    """
    schema, _, name = model.partition(':')
    if schema == 'hf-hub':
        from open_clip.pretrained import download_pretrained_from_hf

        return Path(download_pretrained_from_hf(name, filename=CONFIG))
    return Path(name) / CONFIG


def read_config(path: Path) -> dict:
    """Read an ``open_clip_config.json``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file.
    """
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON ({error})') from error
    if not isinstance(config, dict) or not isinstance(
        config.get('model_cfg'), dict
    ):
        raise ValueError(
            f"{path} is none of open_clip's: it lacks 'model_cfg'"
        )
    return config


def is_jit_archive(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI published CLIP."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            name.endswith('/constants.pkl') for name in archive.namelist()
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read once for as long as it stays the same.

    It is noted in the cache's folder, by the file's path, size and time.
    """
    stat = path.stat()
    identity = f'{path.resolve()} {stat.st_size} {stat.st_mtime_ns}'
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    note = cache_folder() / 'digests' / name
    if note.is_file() and len(known := note.read_text()) == 64:
        return known
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 24):
            digest.update(block)
    with suppress(OSError):  # others' caches may be read alone
        write_whole(note, digest.hexdigest().encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=32)
def _of_file(model: str, path: Path, size: int, changed: int) -> Function:
    by_hash = published_by_hash(path)
    if by_hash:
        return _of_published(by_hash, 'by its SHA-256')
    beside = path.parent / CONFIG
    if beside.is_file():
        return _of_config(read_config(beside), f'{CONFIG} beside it')
    theirs = _of_transformers(path.parent)
    if theirs:
        return theirs
    by_name = published_by_name(path)
    if by_name:
        return _of_published(by_name, 'by its name')
    return _guess(model, path)


def _of_published(pair: tuple[str, str], how: str) -> Function:
    known = f'published as {pair[0]}, {pair[1]} of open_clip, known {how}'
    function = _of_tag(*pair)
    return Function(function.quick_gelu, function.preprocessing, known)


def published_by_hash(path: Path) -> tuple[str, str] | None:
    """Model and tag whose address in open_clip's list has a file's hash."""
    digest = None
    for pair in open_clip.list_pretrained():
        url = open_clip.get_pretrained_cfg(*pair).get('url', '')
        wanted = re.search(r'/([0-9a-f]{64})/|-([0-9a-f]{8})\.pt$', url)
        if wanted:
            digest = digest or sha256(path)
            if digest.startswith(wanted[1] or wanted[2]):
                return pair
    return None


def published_by_name(path: Path) -> tuple[str, str] | None:
    """Model and tag that a file's name, or that of its folder, stands for.

    That is its name in open_clip's list where that holds no hash, the hub's
    cache or a copy of a folder of the hub, or MODEL-TAG.
    """
    hub = [_HUB_FOLDER.fullmatch(part) for part in path.parts]
    repos = {match[1].replace('--', '/').lower() for match in hub if match}
    folder, stem = path.parent.name.lower(), _letters(path.stem)
    for pair in open_clip.list_pretrained():
        config = open_clip.get_pretrained_cfg(*pair)
        repo, _, file = config.get('hf_hub', '').lower().rpartition('/')
        name = repo.rpartition('/')[2]
        url = config.get('url', '')
        hashed = re.search(r'[0-9a-f]{64}/|-[0-9a-f]{8}\.pt$', url)
        own = url.rpartition('/')[2]
        if (
            # some publish several files in one place
            (repo in repos and (not file or _same_file(file, path)))
            or (name and name == folder and not file)
            or (own == path.name and not hashed and not _is_anyones(own))
            or (
                file
                and path.name.lower() == file
                and not _is_anyones(path.name)
            )
            or stem in (_letters('-'.join(pair)), _letters(name) or None)
        ):
            return pair
    return None


def _same_file(file: str, path: Path) -> bool:
    return Path(file).stem == path.stem.lower()


def _is_anyones(name: str) -> bool:
    return bool(_ANYONES.fullmatch(name.lower()))


def _letters(name: str) -> str:
    return re.sub(r'[^a-z0-9]+', '', name.lower())


def _of_transformers(folder: Path) -> Function | None:
    """What transformers' configs in a folder say; ``None`` without them."""
    try:
        config = json.loads((folder / 'config.json').read_text('utf-8'))
        kind = config['model_type']
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if kind not in ('clip', 'siglip', 'siglip2'):
        return None
    vision = config.get('vision_config') or {}
    siglip = kind != 'clip'
    # what transformers takes where nothing is said
    default = 'gelu_pytorch_tanh' if siglip else 'quick_gelu'
    try:
        how = json.loads(
            (folder / 'preprocessor_config.json').read_text('utf-8')
        )
    except (OSError, ValueError):
        how = {}
    size = how.get('size') or {}
    squash = siglip
    if isinstance(size, dict) and size:
        squash = 'shortest_edge' not in size and not how.get('do_center_crop')
    half = [0.5, 0.5, 0.5]
    given = dict(
        mean=how.get('image_mean') or (half if siglip else None),
        std=how.get('image_std') or (half if siglip else None),
        interpolation='bilinear' if how.get('resample') == 2 else 'bicubic',
        resize_mode='squash' if squash else 'shortest',
    )
    given = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in given.items()
        if value
    }
    return Function(
        vision.get('hidden_act', default) == 'quick_gelu',
        _preprocessing(given),
        "transformers' config.json beside it",
    )


def _guess(model: str, path: Path) -> Function:
    """What the architecture says, and where its tags disagree."""
    jit = is_jit_archive(path)
    quick_gelu = jit or bool(_architecture(model).get('quick_gelu'))
    tags = {
        tag: _of_tag(model, tag)
        for tag in open_clip.list_pretrained_tags_by_model(model)
    }
    prepared = [f.preprocessing for f in tags.values()]
    agreed = prepared and all(p == prepared[0] for p in prepared)
    preprocessing = prepared[0] if agreed else _preprocessing()
    known = "an archive like OpenAI's" if jit else f'what {model} stands for'
    chosen = Function(quick_gelu, preprocessing, known)
    others: dict[str, list[str]] = {}
    for tag, function in tags.items():
        differs = function.preprocessing != preprocessing or (
            function.quick_gelu != quick_gelu and not jit
        )
        if differs:
            others.setdefault(str(function), []).append(tag)
    doubt = ''
    if others:
        listed = '; '.join(
            f'{", ".join(tags)}: {text}' for text, tags in others.items()
        )
        switch = f'{model}-quickgelu'
        name = (
            f'--model {switch}, or '
            if switch in open_clip.list_models() and not quick_gelu
            else ''
        )
        doubt = (
            f'{path.name} is no file that open_clip lists: it is taken with '
            f'{chosen}. Of {model} others need something else ({listed}). If '
            f'it is one of these, give {name}the folder with its {CONFIG}'
        )
    return Function(quick_gelu, preprocessing, known, doubt)
