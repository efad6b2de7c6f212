"""What a user asks for, read and checked before any work."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import open_clip

from must_adapt.options import FILE, Options, check_at_sight

from ..weights.clip_source import find_model
from .names import class_names, class_prior, labelled_images, prompt_templates


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
    """

    options: Options
    classes: list[str]
    templates: list[str]
    prior: list[float] | None
    labelled: list[tuple[str, int]]

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
    def fairness(self) -> dict:
        """Options of :class:`FairnessLoss`."""
        options = dict(loss_weight=self.options.fairness_weight)
        return options | (dict(prior=self.prior) if self.prior else {})


def check_model(model: str, pretrained: str) -> None:
    """Look for the model and its weights; nothing is fetched.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a name is unknown, with those that are alike.
    """
    if model.endswith('.json'):
        try:
            model = find_model(model)
        except (FileNotFoundError, ValueError) as error:
            text = str(error).replace('model.start.model', '--model')
            raise type(error)(text) from error
    known = open_clip.list_models()
    if model not in known:
        raise ValueError(
            f'--model: open_clip knows no {model!r}.{_alike(model, known)} '
            'Give one of open_clip.list_models(), the path of an open_clip '
            'model config (.json), or that of a MUST config (.py)'
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).expanduser().is_file():
        raise ValueError(
            f'--pretrained: {pretrained!r} is neither a local file nor a tag '
            f'of {model}.{_alike(pretrained, tags)} Its tags: '
            f'{", ".join(tags) or "none, give a file"}'
        )


def _alike(name: str, known: Sequence[str]) -> str:
    lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), lower, cutoff=0.6)
    if not found:
        return ''
    return f' Did you mean {" or ".join(lower[other] for other in found)}?'


def check(options: Options) -> Task:
    """Read and check everything but the images.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        ImportError: If ONNX is asked for and its packages are missing.
        ValueError: If an option is of no use, with its name and the fix.
    """
    check_at_sight(options)
    classes = class_names(options.classes, options.folder)
    if not options.config:
        check_model(options.model, options.pretrained)
    labelled = []
    if options.eval is not None:
        labelled = labelled_images(options.eval_folder, classes)
    return Task(
        options=options,
        classes=classes,
        templates=prompt_templates(options.templates),
        prior=class_prior(options.class_prior, classes),
        labelled=labelled,
    )


def save(task: Task, out: Path) -> None:
    """Keep the options for ``--resume``, files and folders absolute."""
    given = task.options
    kept = replace(
        given,
        images=str(given.folder),
        classes=task.classes,
        templates=task.templates,
        class_prior=(
            dict(zip(task.classes, task.prior, strict=True))
            if task.prior
            else 'uniform'
        ),
        eval=given.eval_folder and str(given.eval_folder),
        model=_absolute(given.model),
        pretrained=_absolute(given.pretrained),
        out=str(out),
    )
    text = json.dumps(asdict(kept), indent=2, ensure_ascii=False)
    (out / FILE).write_text(text + '\n', encoding='utf-8')


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_file() else name
