"""What a user asks for, read and checked before any work."""

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import open_clip

from must_mm_cli.corrected import first_result
from must_mm_cli.options import FILE, Options, check_at_sight

from ..checkpoints.whole_file import write_whole
from ..weights.clip_source import (
    FOLDER,
    brings_weights,
    check_source,
    find_model,
    find_weights,
)
from ..weights.context import cut_names
from .names import (
    class_names,
    class_prior,
    ids_among,
    labelled_images,
    prompt_templates,
)


@dataclass(frozen=True)
class Task:
    """Options that were found to be sound.

    Attributes:
        options: As given.
        classes: Class names.
        templates: Prompt templates.
        prior: Share of each class; ``None`` if uniform.
        labelled: Labelled images below ``options.eval``, with the index of
            their class.
        notes: What the user should know of weights and names.
    """

    options: Options
    classes: list[str]
    templates: list[str]
    prior: list[float] | None
    labelled: list[tuple[str, int]]
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder of images."""
        return self.options.folder

    @property
    def eval_folder(self) -> Path | None:
        """Folder of labelled images."""
        return self.options.eval_folder

    @property
    def config(self) -> Path | None:
        """The MUST config that was given as the model, if one was."""
        return self.options.config

    @property
    def start(self) -> dict[str, str]:
        """``model`` and ``pretrained`` of :class:`OpenCLIPStart`."""
        options = self.options
        # from the root: a resumed run may begin in another folder
        model = _absolute(options.model, open_clip.list_models())
        if brings_weights(options.model):
            return dict(model=model)
        tags = open_clip.list_pretrained_tags_by_model(options.model)
        return dict(
            model=model, pretrained=_absolute(options.pretrained, tags)
        )

    @property
    def fairness(self) -> dict:
        """Options of :class:`FairnessLoss`."""
        options = dict(loss_weight=self.options.fairness_weight)
        return options | (dict(prior=self.prior) if self.prior else {})


def check_model(
    model: str, pretrained: str | None, fetch: bool = True
) -> list[str]:
    """Look for the model and its weights, which are not fetched.

    Args:
        model: See :class:`Options`.
        pretrained: See :class:`Options`; nothing where the model brings its
            weights.
        fetch: Whether the config of a model of the hub may be fetched.

    Returns:
        What the user should know of them, in sentences.

    Raises:
        FileNotFoundError: If a file is missing.
        ImportError: If a package is missing that reads the class names.
        ValueError: If a name is unknown, with those that are alike, or a
            file holds no weights of the model, with what it holds.
    """
    path = Path(model).expanduser()
    is_name = not (brings_weights(model) or path.suffix == '.json')
    known = open_clip.list_models()
    if is_name and model not in known:
        raise ValueError(
            f'--model: open_clip knows no {model!r}.{_alike(model, known)} '
            'Give one of open_clip.list_models(), the path of an open_clip '
            'model config (.json), a folder of weights with '
            'open_clip_config.json, hf-hub:OWNER/NAME, or a MUST config (.py)'
        )
    try:
        model = find_model(model)
        tags = open_clip.list_pretrained_tags_by_model(model)
        given = Path(pretrained or '').expanduser()
        if pretrained and pretrained not in tags and not given.exists():
            raise ValueError(
                f'--pretrained: {pretrained!r} is neither a local file or '
                f'folder nor a tag of {model}.{_alike(pretrained, tags)} Its '
                f'tags: {", ".join(tags) or "none, give a file"}'
            )
        weights = find_weights(model, pretrained)
        return check_source(model, weights, fetch)
    except (FileNotFoundError, ImportError, ValueError) as error:
        text = str(error)
        for name in ('model', 'pretrained'):
            text = text.replace(f'model.start.{name}', f'--{name}')
        raise type(error)(text) from error


def _alike(name: str, known: Sequence[str]) -> str:
    lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), lower, cutoff=0.6)
    if not found:
        return ''
    return f' Did you mean {" or ".join(lower[other] for other in found)}?'


def check(options: Options, fetch: bool = True) -> Task:
    """Read and check everything but the images.

    Args:
        options: What is asked for.
        fetch: Whether the config of a model of the hub may be fetched.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        ImportError: If ONNX is asked for and its packages are missing.
        ValueError: If an option is of no use, with its name and the fix.
    """
    check_at_sight(options)
    classes = class_names(options.classes, options.folder)
    notes = [ids_among(classes)]
    if not options.config:
        brings = brings_weights(options.model)
        notes += check_model(
            options.model, None if brings else options.pretrained, fetch
        )
    labelled = []
    if options.eval is not None:
        labelled = labelled_images(options.eval_folder, classes)
    templates = prompt_templates(options.templates)
    if not options.config:
        notes.append(cut_names(find_model(options.model), classes, templates))
    return Task(
        options=options,
        classes=classes,
        templates=templates,
        prior=class_prior(options.class_prior, classes),
        labelled=labelled,
        notes=tuple(note for note in notes if note),
    )


def save(task: Task, out: Path) -> None:
    """Keep the options for ``--resume``, so that it finds all files."""
    given = task.options
    kept = replace(
        given,
        images=str(given.folder),
        classes=task.classes,
        templates=task.templates,
        class_prior=(
            dict(zip(task.classes, task.prior, strict=True))
            if task.prior
            else given.class_prior
        ),
        eval=given.eval_folder and str(given.eval_folder),
        out=str(out),
        **(dict(model=str(task.config)) if task.config else task.start),
        labels=given.labels and _within(given.labels, out),
        after=given.after and _within(given.after, out),
    )
    text = json.dumps(asdict(kept), indent=2, ensure_ascii=False)
    write_whole(out / FILE, (text + '\n').encode())


def _within(path: str, out: Path) -> str:
    """A path from the root, or from ``out`` if in a result and corrections.

    These may be renamed together.
    """
    whole = Path(path).expanduser().resolve()
    if whole.is_relative_to(first_result(out)):
        return os.path.relpath(whole, out)
    return str(whole)


def _absolute(name: str, known: Sequence[str]) -> str:
    """A file or folder from the root; known names stay as they are."""
    path = Path(name.removeprefix(FOLDER)).expanduser()
    if name in known or not path.exists():
        return name
    return str(path.resolve())
