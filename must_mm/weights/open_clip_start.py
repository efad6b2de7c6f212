"""Where training starts: a zero-shot classifier from open_clip."""

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import torch
import torch.nn as nn
from filelock import FileLock, Timeout
from mmengine.device import get_device
from mmengine.logging import print_log
from mmpretrain.registry import TASK_UTILS

from ..checkpoints.plain import load_tensors, save_tensors
from ..utils.lazy import lazy_import
from ..utils.paths import CACHE, cache_folder
from ..utils.validation import check_integer, check_type
from .clip_source import check_source, find_model, find_weights
from .clip_weights import is_here, load_clip
from .context import cut_names
from .convert import from_clip
from .origin import function_of, local_file, sha256
from .start_file import (
    ConvertedStart,
    check_classes,
    classifier_config,
    read_classifier,
    save_classifier,
)
from .text import (
    Names,
    as_classifier,
    embed_prompts,
    read_classes,
    read_templates,
)
from .towers import is_plain_vit

open_clip = lazy_import('open_clip')

SHOW_EVERY = 20  # seconds between lines of progress, and saves of it


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep all other processes that share the folder from making a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f'{path.name}.lock'))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print_log(f'waiting for the process that makes {path}', 'current')
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_writable(folder: Path) -> None:
    """Make a folder of the cache, before anything is built for it.

    Raises:
        OSError: If it cannot be written to, with how to choose another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f'the cache {folder} cannot be written to '
            f'({os.strerror(error.errno or 0)}): set {CACHE} to another '
            'folder, or model.start.cache_dir in a config'
        ) from error


@TASK_UTILS.register_module()
class OpenCLIPStart:
    """A zero-shot classifier: open_clip's towers, names and templates.

    Vision tower, projection, text classifier and logit scale are built once
    and kept in a file named by the content they depend on, which
    :class:`ConvertedStart` can read as well. Of all processes that share the
    folder one builds it while the others wait for its lock, in no collective
    operation, which would time out. Interrupted, the next one goes on from
    the prompts that are embedded. The text tower is not needed after that.

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

    @cached_property
    def digest(self) -> str:
        """What the content of the file depends on, in 16 hex digits."""
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
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        """The cached file, named by what its content depends on."""
        name = re.sub(r'[^\w.-]+', '-', self.model.rpartition('/')[2])
        return self.cache_dir / f'{name}-{self.digest}.pth'

    @property
    def lacks_weights(self) -> bool:
        """Whether :meth:`build` is needed and would fetch weights."""
        given = self.model, self.pretrained
        return not (
            local_file(*given) or self.path.is_file() or is_here(*given)
        )

    def build(
        self,
        path: str | Path | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Build the zero-shot classifier and write its file.

        Args:
            path: The file; :attr:`path` by default.
            device: Where to embed the prompts; the accelerator, if there is
                one, by default.
        """
        path = Path(path or self.path)
        device = torch.device(device or get_device())
        notes = check_source(self.model, self.pretrained)
        function = function_of(self.model, self.pretrained)
        print_log(
            f'building the zero-shot classifier of {self.model} '
            f'({self.pretrained or "its own weights"}; {function}; '
            f'{function.known}): {len(self.classes)} classes x '
            f'{len(self.templates)} templates on {device.type} -> {path}',
            'current',
        )
        notes.append(cut_names(self.model, self.classes, self.templates))
        for note in filter(None, notes):
            print_log(note, 'current', logging.WARNING)
        clip = load_clip(self.model, self.pretrained, self.image_size)
        architecture = open_clip.get_model_config(self.model)
        architecture['quick_gelu'] = function.quick_gelu
        tower = clip.visual.state_dict()
        if is_plain_vit(architecture['vision_cfg']):
            state = from_clip(tower)
        else:
            state = {f'backbone.visual.{k}': v for k, v in tower.items()}
        state['head.logit_scale'] = (
            clip.logit_scale.detach().float().exp().squeeze()
        )
        clip.visual = None  # only the text tower goes to the device
        partial = path.with_name(f'.{path.name}.{self.digest}.prompts')
        state['head.classifier'] = self._classifier(clip.to(device), partial)
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
        partial.unlink(missing_ok=True)
        if device.type == 'cuda':
            del clip
            torch.cuda.empty_cache()

    def _classifier(self, clip: nn.Module, partial: Path) -> torch.Tensor:
        """Embed the prompts, with progress shown and kept in ``partial``."""
        total = len(self.classes) * len(self.templates)
        known = load_tensors(partial) if partial.is_file() else {}
        begun = done = known.get('done', 0)
        if begun:
            line = f'{begun:,} of {total:,} prompts were embedded before'
            print_log(line, 'current')
        started = shown = time.monotonic()
        for done, sums in embed_prompts(
            clip,
            open_clip.get_tokenizer(self.model),
            self.classes,
            self.templates,
            **known,
        ):
            now = time.monotonic()
            if now - shown >= SHOW_EVERY:
                shown = now
                save_tensors(dict(done=done, sums=sums), partial)
                left = (now - started) / (done - begun) * (total - done)
                print_log(
                    f'{done:,} of {total:,} prompts are embedded, about '
                    f'{timedelta(seconds=round(left))} left',
                    'current',
                )
        return as_classifier(sums)

    def prepare(self, device: str | torch.device | None = None) -> Path:
        """Return :attr:`path`, built by one process if need be.

        Args:
            device: See :meth:`build`.
        """
        if not self.path.is_file():
            check_writable(self.path.parent)
            with one_at_a_time(self.path):
                if not self.path.is_file():
                    self.build(device=device)
        return self.path

    def load(self) -> dict[str, torch.Tensor]:
        """Return the classifier's parameters, building them if need be."""
        return read_classifier(self.prepare())['state_dict']

    def load_into(self, model: nn.Module) -> None:
        """Load the classifier; see :meth:`ConvertedStart.load_into`."""
        check_classes(model.head, len(self.classes), 'model.start.classes')
        device = next(model.parameters()).device
        ConvertedStart(self.prepare(device)).load_into(model)
