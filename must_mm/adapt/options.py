"""What a user asks for, checked before any work."""

import difflib
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import open_clip

from ..models.must import STUDENT, TEACHER
from ..weights.clip_source import find_model
from .names import class_names, class_prior, labelled_images, prompt_templates

FILE = 'options.json'


@dataclass(frozen=True)
class Options:
    """The options of ``must-adapt``, as given.

    Attributes:
        images: Folder of images.
        classes: See :func:`class_names`.
        model: Name of an open_clip architecture, path of an open_clip model
            config (``.json``) or of a MUST config (``.py``).
        pretrained: Tag of open_clip, or a local file of weights.
        templates: See :func:`prompt_templates`.
        eval: Folder of labelled images, one sub folder for each class.
        out: Folder for all that is written.
        class_prior: See :func:`class_prior`.
        fairness_weight: Weight of the fairness loss.
        network: ``'student'`` or ``'teacher'``: which one is exported and
            predicts.
        epochs: Passes over the images; by their number by default.
        seed: Seed of the run.
        onnx: Whether to write ONNX, too.
    """

    images: str
    classes: str | Sequence[str]
    model: str = 'ViT-B-16'
    pretrained: str = 'openai'
    templates: str | Sequence[str] | None = None
    eval: str | None = None
    out: str = 'adapted'
    class_prior: str | dict | None = 'uniform'
    fairness_weight: float = 1.0
    network: str = STUDENT
    epochs: int | None = None
    seed: int = 0
    onnx: bool = False


@dataclass(frozen=True)
class Task:
    """Options that were found to be sound.

    Attributes:
        options: As given.
        folder: Folder of images.
        classes: Class names.
        templates: Prompt templates.
        prior: Share of each class; ``None`` if uniform.
        labelled: Labelled images below ``options.eval``, with the index of
            their class.
        config: The MUST config that was given as the model, if one was.
    """

    options: Options
    folder: Path
    classes: list[str]
    templates: list[str]
    prior: list[float] | None
    labelled: list[tuple[str, int]]
    config: Path | None

    @property
    def eval_folder(self) -> Path | None:
        """Folder of labelled images."""
        given = self.options.eval
        return given and Path(given).expanduser().resolve()

    @property
    def fairness(self) -> dict:
        """Options of :class:`FairnessLoss`."""
        options = dict(loss_weight=self.options.fairness_weight)
        return options | (dict(prior=self.prior) if self.prior else {})


def _folder(path: str, key: str) -> Path:
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        what = 'is a file' if folder.exists() else 'does not exist'
        raise FileNotFoundError(f'{key}: the folder {path} {what}')
    return folder


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


def check_out(path: Path, dry_run: bool = False) -> None:
    """Make the folder for the results, or say why that cannot be.

    Args:
        path: The folder.
        dry_run: Whether to leave it unmade.

    Raises:
        ValueError: If it is used already.
        OSError: If it cannot be written to.
    """
    if path.is_dir() and any(path.iterdir()):
        hint = (
            f'go on with its run by must-adapt --resume {path}, or '
            if (path / FILE).is_file()
            else ''
        )
        raise ValueError(
            f'--out {path}: this folder is not empty; {hint}give another one'
        )
    try:
        if dry_run:
            there = next(p for p in [path, *path.parents] if p.exists())
            if not there.is_dir() or not os.access(there, os.W_OK):
                raise PermissionError(f'no right to write in {there}')
            return
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(
            f'--out {path}: cannot be written to: {error}'
        ) from error


def check(options: Options) -> Task:
    """Read and check everything but the images.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        ImportError: If ONNX is asked for and its packages are missing.
        ValueError: If an option is of no use, with its name and the fix.
    """
    folder = _folder(options.images, 'IMAGES')
    classes = class_names(options.classes, folder)
    config = None
    if options.model.endswith('.py'):
        config = Path(options.model).expanduser().resolve()
        if not config.is_file():
            raise FileNotFoundError(f'--model: there is no config {config}')
    else:
        check_model(options.model, options.pretrained)
    if options.network not in (STUDENT, TEACHER):
        raise ValueError(
            f"--network must be '{STUDENT}' or '{TEACHER}', got "
            f'{options.network!r}'
        )
    if not 0 <= options.fairness_weight < float('inf'):
        raise ValueError(
            '--fairness-weight must not be negative, got '
            f'{options.fairness_weight}'
        )
    if options.epochs is not None and options.epochs < 1:
        raise ValueError(f'--epochs must be positive, got {options.epochs}')
    if not 0 <= options.seed < 2**32:  # what NumPy takes
        raise ValueError(
            f'--seed must lie in [0, {2**32 - 1}], got {options.seed}'
        )
    if options.onnx:
        missing = [
            name
            for name in ('onnx', 'onnxruntime', 'onnxscript')
            if importlib.util.find_spec(name) is None
        ]
        if missing:
            raise ImportError(
                f'--onnx needs {", ".join(missing)}: install the packages of '
                'must_mm[onnx]'
            )
    labelled = []
    if options.eval is not None:
        labelled = labelled_images(_folder(options.eval, '--eval'), classes)
    return Task(
        options=options,
        folder=folder,
        classes=classes,
        templates=prompt_templates(options.templates),
        prior=class_prior(options.class_prior, classes),
        labelled=labelled,
        config=config,
    )


def check_given(task: Task, given: Mapping) -> None:
    """Refuse options that a MUST config as the model would not use.

    Args:
        task: The checked options.
        given: Those that were given, by name, without defaults.

    Raises:
        ValueError: If the start is described twice.
    """
    for name in ('pretrained', 'templates'):
        if task.config and given.get(name) is not None:
            raise ValueError(
                f'--{name} cannot be given with --model {task.config}: its '
                f'model.start is used as it is. Leave --{name} out, or change '
                'model.start in the config'
            )


def save(task: Task, out: Path) -> None:
    """Keep the options for ``--resume``, files and folders absolute."""
    given = task.options
    kept = replace(
        given,
        images=str(task.folder),
        classes=task.classes,
        templates=task.templates,
        class_prior=(
            dict(zip(task.classes, task.prior, strict=True))
            if task.prior
            else 'uniform'
        ),
        eval=given.eval and str(Path(given.eval).expanduser().resolve()),
        model=_absolute(given.model),
        pretrained=_absolute(given.pretrained),
        out=str(out),
    )
    text = json.dumps(asdict(kept), indent=2, ensure_ascii=False)
    (out / FILE).write_text(text + '\n', encoding='utf-8')


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_file() else name


def load(out: Path) -> Options:
    """Read the options of a run that is to go on.

    Raises:
        ValueError: If the folder holds no run of ``must-adapt``.
    """
    path = out / FILE
    try:
        given = json.loads(path.read_text(encoding='utf-8'))
        return Options(**dict(given, out=str(out)))
    except FileNotFoundError as error:
        raise ValueError(
            f'--resume {out}: there is no run to go on with, {path} is missing'
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f'--resume: {path} is damaged: {error}') from error
