"""Where training starts: a zero-shot classifier from open_clip."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
import torch.nn as nn
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmpretrain.registry import TASK_UTILS

from ..utils.validation import check_integer, check_type
from .clip_source import check_source, find_model, find_weights, load_clip
from .convert import from_clip
from .origin import function_of, local_file, sha256
from .start_file import (
    ConvertedStart,
    check_classes,
    classifier_config,
    read_classifier,
    save_classifier,
)
from .text import Names, read_classes, read_templates, text_classifier
from .towers import is_plain_vit

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
    if is_main_process():
        try:
            work()
        except Exception as error:
            broadcast_object_list([f'{type(error).__name__}: {error}'])
            raise
    shared = [None]
    broadcast_object_list(shared)
    if shared[0] is not None:
        raise RuntimeError(f'rank 0 failed: {shared[0]}')


@TASK_UTILS.register_module()
class OpenCLIPStart:
    """A zero-shot classifier: open_clip's towers, names and templates.

    Vision tower, projection, text classifier and logit scale are built once
    and kept in a file named by the content they depend on, which
    :class:`ConvertedStart` can read as well; only one rank builds it. The
    text tower is not needed after that.

    Args:
        model: What :func:`find_model` takes: the name of an open_clip
            architecture, an open_clip model config (``.json``), a folder with
            ``open_clip_config.json``, ``local-dir:...``, ``hf-hub:...``.
        pretrained: A tag that open_clip knows for the model (downloaded by
            open_clip), or a local file or folder of weights: see
            :func:`load_clip`. Nothing where the model brings its own.
        classes: Class names, or a text file with one a line, in the order of
            the data set's classes.
        templates: Prompt templates with ``{}`` for the name, or a text file.
        allow_duplicates: Whether class names may repeat.
        image_size: Side of the images in pixels, if not the architecture's;
            position embeddings are resized.
        cache_dir: Where to keep the file; :func:`cache_folder` by default.

    Raises:
        ValueError: If names, templates, model or tag are not usable.
        TypeError: If a value is of another type.
        FileNotFoundError: If a file is missing.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        *,
        classes: Names,
        templates: Names,
        allow_duplicates: bool = False,
        image_size: int | None = None,
        cache_dir: str | None = None,
    ) -> None:
        check_type('model.start.model', model, str)
        check_type('model.start.pretrained', pretrained, str, type(None))
        check_type('model.start.allow_duplicates', allow_duplicates, bool)
        check_type('model.start.cache_dir', cache_dir, str, Path, type(None))
        if image_size is not None:
            check_integer('model.start.image_size', image_size)
        self.classes = read_classes(
            classes, 'model.start.classes', allow_duplicates
        )
        self.templates = read_templates(templates, 'model.start.templates')
        self.model = find_model(model)
        self.pretrained = find_weights(self.model, pretrained)
        self.image_size = image_size
        self.cache_dir = Path(cache_dir or cache_folder()).expanduser()

    @property
    def path(self) -> Path:
        """The cached file, named by what its content depends on."""
        weights = local_file(self.model, self.pretrained)
        function = function_of(self.model, self.pretrained)
        content = dict(
            format=3,
            model=open_clip.get_model_config(self.model),
            # the same tensors may be of another function
            function=[function.quick_gelu, function.preprocessing],
            pretrained=(
                sha256(weights) if weights else self.pretrained or self.model
            ),
            classes=self.classes,
            templates=self.templates,
            image_size=self.image_size,
        )
        digest = hashlib.sha256(
            json.dumps(content, sort_keys=True).encode()
        ).hexdigest()
        name = re.sub(r'[^\w.-]+', '-', self.model.rpartition('/')[2])
        return self.cache_dir / f'{name}-{digest[:16]}.pth'

    def build(self, path: str | Path | None = None) -> None:
        """Build the zero-shot classifier and write its file.

        Args:
            path: The file; :attr:`path` by default.
        """
        path = path or self.path
        notes = check_source(self.model, self.pretrained)
        function = function_of(self.model, self.pretrained)
        print_log(
            f'building the zero-shot classifier of {self.model} '
            f'({self.pretrained or "its own weights"}; {function}; '
            f'{function.known}): {len(self.classes)} classes x '
            f'{len(self.templates)} templates -> {path}',
            'current',
        )
        for note in notes:
            print_log(note, 'current', logging.WARNING)
        clip = load_clip(self.model, self.pretrained, self.image_size)
        architecture = open_clip.get_model_config(self.model)
        architecture['quick_gelu'] = function.quick_gelu
        tower = clip.visual.state_dict()
        if is_plain_vit(architecture['vision_cfg']):
            state = from_clip(tower)
        else:
            state = {f'backbone.visual.{k}': v for k, v in tower.items()}
        state['head.classifier'] = text_classifier(
            clip,
            open_clip.get_tokenizer(self.model),
            self.classes,
            self.templates,
        )
        state['head.logit_scale'] = (
            clip.logit_scale.detach().float().exp().squeeze()
        )
        save_classifier(
            path,
            state,
            classifier_config(
                architecture,
                len(self.classes),
                function.preprocessing,
                self.image_size,
            ),
            self.classes,
            templates=self.templates,
            model=self.model,
            pretrained=self.pretrained,
        )

    def prepare(self) -> Path:
        """Return :attr:`path`, built by one rank if need be."""
        on_main_process(lambda: self.path.is_file() or self.build())
        return self.path

    def load(self) -> dict[str, torch.Tensor]:
        """Return the classifier's parameters, building them if need be."""
        return read_classifier(self.prepare())['state_dict']

    def load_into(self, model: nn.Module) -> None:
        """Load the classifier; see :meth:`ConvertedStart.load_into`."""
        check_classes(model.head, len(self.classes), 'model.start.classes')
        ConvertedStart(self.prepare()).load_into(model)
