"""Where training starts: a zero-shot classifier from open_clip."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
import torch.nn as nn
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmpretrain.registry import TASK_UTILS

from .checkpoint import load_tensors, plain_data_only, save_tensors
from .convert import from_clip
from .text import Names, read_classes, read_templates, text_classifier

CACHE = 'MUST_MM_CACHE'


def cache_folder() -> Path:
    """``$MUST_MM_CACHE``, or ``must_mm`` in the user's cache folder."""
    default = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')) / 'must_mm'
    return Path(os.environ.get(CACHE, default)).expanduser()


def on_main_process(work: Callable[[], None]) -> None:
    """Run ``work`` on rank 0 while the others wait; fail together.

    Raises:
        RuntimeError: On the other ranks, if rank 0 failed.
    """
    failure = None
    if is_main_process():
        try:
            work()
        except Exception as error:
            broadcast_object_list([f'{type(error).__name__}: {error}'])
            raise
    shared = [failure]
    broadcast_object_list(shared)
    if shared[0] is not None:
        raise RuntimeError(f'rank 0 failed: {shared[0]}')


@TASK_UTILS.register_module()
class OpenCLIPStart:
    """A zero-shot classifier: open_clip's towers, names and templates.

    Vision tower, projection, text classifier and logit scale are built once
    and kept in a file named by the content they depend on; only one rank
    builds it. The text tower is not needed after that.

    Args:
        model: Name of an open_clip architecture, or the path of an open_clip
            model config (``.json``).
        pretrained: A tag that open_clip knows for the model (downloaded by
            open_clip), or a local weights file.
        classes: Class names, or a text file with one a line, in the order of
            the data set's classes.
        templates: Prompt templates with ``{}`` for the name, or a text file.
        allow_duplicates: Whether class names may repeat.
        cache_dir: Where to keep the file; :func:`cache_folder` by default.

    Raises:
        ValueError: If names, templates, model or tag are not usable.
        FileNotFoundError: If a file is missing.
    """

    def __init__(
        self,
        model: str,
        pretrained: str,
        classes: Names,
        templates: Names,
        allow_duplicates: bool = False,
        cache_dir: str | None = None,
    ) -> None:
        self.classes = read_classes(
            classes, 'model.start.classes', allow_duplicates
        )
        self.templates = read_templates(templates, 'model.start.templates')
        self.model = self._check_model(model)
        self.pretrained = self._check_pretrained(self.model, pretrained)
        self.cache_dir = Path(cache_dir or cache_folder()).expanduser()

    @staticmethod
    def _check_model(model: str) -> str:
        """Return the architecture's name, registered if it is a file."""
        path = Path(model).expanduser()
        if path.suffix == '.json':
            if not path.is_file():
                raise FileNotFoundError(f'model.start.model: no file {path}')
            open_clip.add_model_config(path)
            model = path.stem
        if model not in open_clip.list_models():
            raise ValueError(
                f'model.start.model: open_clip knows no {model!r}. Give one '
                'of open_clip.list_models(), such as ViT-B-16, or the path '
                'of an open_clip model config (.json)'
            )
        return model

    @staticmethod
    def _check_pretrained(model: str, pretrained: str) -> str:
        """Return the tag or the path of the weights."""
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

    @property
    def quick_gelu(self) -> bool:
        """Whether the weights were trained with QuickGELU.

        open_clip only warns where a tag and a model name disagree.
        """
        tag = open_clip.get_pretrained_cfg(self.model, self.pretrained)
        config = open_clip.get_model_config(self.model)
        return bool(tag.get('quick_gelu') or config.get('quick_gelu'))

    @property
    def path(self) -> Path:
        """The cached file, named by what its content depends on."""
        weights = Path(self.pretrained)
        content = dict(
            format=1,
            model=open_clip.get_model_config(self.model),
            pretrained=(
                hashlib.sha256(weights.read_bytes()).hexdigest()
                if weights.is_file()
                else self.pretrained
            ),
            classes=self.classes,
            templates=self.templates,
        )
        digest = hashlib.sha256(
            json.dumps(content, sort_keys=True).encode()
        ).hexdigest()
        return self.cache_dir / f'{self.model}-{digest[:16]}.pth'

    def build(self) -> None:
        """Build the zero-shot classifier and write it to :attr:`path`."""
        print_log(
            f'building the zero-shot classifier of {self.model} '
            f'({self.pretrained}): {len(self.classes)} classes x '
            f'{len(self.templates)} templates -> {self.path}',
            'current',
        )
        clip = self._create()
        state = from_clip(clip.visual.state_dict())
        state['head.classifier'] = text_classifier(
            clip,
            open_clip.get_tokenizer(self.model),
            self.classes,
            self.templates,
        )
        state['head.logit_scale'] = clip.logit_scale.detach().float().exp()
        save_tensors(
            dict(
                state_dict=state,
                meta=dict(
                    classes=self.classes,
                    templates=self.templates,
                    model=self.model,
                    pretrained=self.pretrained,
                ),
            ),
            self.path,
        )

    def _create(self) -> nn.Module:
        """Create the open_clip model with its weights."""
        try:
            with plain_data_only(self.pretrained):
                clip = open_clip.create_model(
                    self.model,
                    pretrained=self.pretrained,
                    force_quick_gelu=self.quick_gelu,
                )
        except (ValueError, FileNotFoundError) as error:
            if Path(self.pretrained).is_file():
                raise ValueError(f'model.start.pretrained: {error}') from error
            source = open_clip.get_pretrained_cfg(self.model, self.pretrained)
            where = source.get('url') or source.get('hf_hub')
            raise RuntimeError(
                f'model.start.pretrained: the weights of {self.model} '
                f'({self.pretrained}) could not be fetched from {where}. '
                'Without a connection, bring the file here and set '
                "model.start.pretrained='/path/to/the/file'. "
                f'({error})'
            ) from error
        return clip.eval()

    def load(self) -> dict[str, torch.Tensor]:
        """Return the classifier's parameters, building them if need be."""
        on_main_process(lambda: self.path.is_file() or self.build())
        return load_tensors(self.path)['state_dict']

    def load_into(self, model: nn.Module) -> None:
        """Load the classifier into ``backbone``, ``neck`` and ``head``.

        Raises:
            ValueError: If the model's config describes another tower or
                another number of classes.
        """
        classes = getattr(model.head, 'num_classes', len(self.classes))
        if classes != len(self.classes):
            raise ValueError(
                f'model.start.classes has {len(self.classes)} names, '
                f'model.head.num_classes is {classes}: make them equal'
            )
        self._check_function(model.backbone)
        model.load_state_dict(self.load(), strict=False)

    def _check_function(self, backbone: nn.Module) -> None:
        """Compare what no tensor's shape tells: heads and activation.

        Raises:
            ValueError: If the backbone would compute another function.
        """
        vision = open_clip.get_model_config(self.model)['vision_cfg']
        heads = vision['width'] // vision.get('head_width', 64)
        for layer in backbone.layers:
            if layer.attn.num_heads != heads:
                raise ValueError(
                    f'model.backbone.arch has {layer.attn.num_heads} heads, '
                    f'{self.model} has {heads}: make them equal'
                )
            activation = type(layer.ffn.layers[0][1]).__name__
            wanted = 'QuickGELU' if self.quick_gelu else 'GELU'
            if activation != wanted:
                raise ValueError(
                    f'model.backbone.layer_cfgs.act_cfg is {activation}, '
                    f'{self.model} ({self.pretrained}) has {wanted}: set it '
                    "to dict(type='mmpretrain.QuickGELU') or 'GELU'"
                )
