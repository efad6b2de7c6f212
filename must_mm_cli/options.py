"""What a user asks for, and what is wrong with it at first sight."""

import importlib.util
import inspect
import json
import os
import re
import shlex
import tempfile
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path

from .clutter import is_clutter

FILE = 'options.json'
PREDICTED = 'predicted'  # folder of what --predict writes, by default
_ARCHIVES = ('.zip', '.tar', '.gz', '.tgz', '.7z', '.rar', '.bz2', '.xz')
# how open_clip names models with their weights
_SCHEMES = ('hf-hub:', 'local-dir:')
NETWORKS = ('student', 'teacher')


@dataclass(frozen=True)
class Options:
    """The options of ``must-adapt``, as given.

    Each is an option of the command, which takes its help from here.

    Attributes:
        images: Folder of images.
        classes: Class names, as in 'cat, dog'; a text file with one a line;
            or @folders for the names of the folders in IMAGES.
        model: Name of an open_clip architecture; path of an open_clip model
            config (.json); a folder with weights and open_clip_config.json,
            or hf-hub:OWNER/NAME, which bring their weights; path of a MUST
            config (.py).
        pretrained: Tag of open_clip, fetched if it is not there, or a local
            file or folder of weights.
        templates: Texts as 'a photo of a {}.', a text file, or a named set
            such as imagenet.
        eval: Folder of labelled images, one folder in it for each class, to
            measure.
        out: New folder for all that is written.
        class_prior: uniform, auto (estimated), or name=share,... or a file of
            them; by default uniform, or what labels clearly speak for.
        fairness_weight: How much predictions are pulled towards the class
            prior.
        network: Which one is exported and predicts.
        epochs: Passes over the images; by their number by default.
        seed: Seed of the run.
        onnx: Write ONNX, too.
        runs: Runs, each with a seed of its own, that are asked together and
            teach what is exported; 3 by default if all of that takes less
            than an hour, else 1.
        reject: Share of the images, those that look least like any class,
            that are not trained on.
        review: Images to ask you about.
        labels: Labels to learn from, review.csv or a folder with one folder
            in it for each class; with --resume, to correct its result.
        after: Folder of a result to go on from, instead of from the start.
    """

    images: str
    classes: str | Sequence[str]
    model: str = 'ViT-B-16'
    pretrained: str = 'openai'
    templates: str | Sequence[str] | None = field(
        default=None, metadata=dict(nargs='+')
    )
    eval: str | None = field(default=None, metadata=dict(metavar='FOLDER'))
    out: str = field(default='adapted', metadata=dict(metavar='DIR'))
    class_prior: str | dict | None = None
    fairness_weight: float = field(default=1.0, metadata=dict(type=float))
    network: str = field(default=NETWORKS[0], metadata=dict(choices=NETWORKS))
    epochs: int | None = field(default=None, metadata=dict(type=int))
    seed: int = field(default=0, metadata=dict(type=int))
    onnx: bool = field(default=False, metadata=dict(action='store_true'))
    runs: int | None = field(default=None, metadata=dict(type=int))
    reject: float = field(
        default=0.0, metadata=dict(type=float, metavar='SHARE')
    )
    review: int = field(default=20, metadata=dict(type=int, metavar='N'))
    labels: str | None = field(default=None, metadata=dict(metavar='FILE'))
    after: str | None = field(default=None, metadata=dict(metavar='DIR'))

    @property
    def folder(self) -> Path:
        """The folder of images, absolute."""
        return _absolute(self.images)

    @property
    def eval_folder(self) -> Path | None:
        """The folder of labelled images, absolute."""
        return self.eval and _absolute(self.eval)

    @property
    def after_folder(self) -> Path | None:
        """The folder of the result to go on from, absolute."""
        return self.after and _absolute(self.after)

    @property
    def config(self) -> Path | None:
        """The MUST config that is given as the model, if one is."""
        return _absolute(self.model) if self.model.endswith('.py') else None

    @property
    def brings_weights(self) -> bool:
        """Whether the model is named with its weights."""
        beside = Path(self.model).expanduser() / 'open_clip_config.json'
        return self.model.startswith(_SCHEMES) or beside.is_file()


def add_options(parser: ArgumentParser) -> None:
    """Add the fields of :class:`Options` to a command line.

    What is not given is not set: the defaults are those of the class.
    """
    texts = re.findall(
        r'^    (\w+): (.*?)(?=^    \w+: |\Z)',
        inspect.getdoc(Options).partition('Attributes:\n')[2],
        re.MULTILINE | re.DOTALL,
    )
    helps = {name: ' '.join(text.split()).rstrip('.') for name, text in texts}
    for option in fields(Options):
        text = helps.get(option.name, '').replace('%', '%%')
        if option.name == 'images':
            parser.add_argument(
                'images', nargs='?', metavar='IMAGES', help=text
            )
            continue
        if not any(option.default is no for no in (MISSING, None, False)):
            text += f'; {option.default} by default'
        parser.add_argument(
            f'--{option.name.replace("_", "-")}',
            **dict(option.metadata, default=SUPPRESS, help=text),
        )
    parser.set_defaults(images=None, classes=None)


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def check_at_sight(options: Options) -> None:
    """Check what needs no library, nor a look at the images.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        ImportError: If ONNX is asked for and its packages are missing.
        ValueError: If an option is of no use, with its name and the fix.
    """
    check_folder(options.images, 'IMAGES')
    if options.config and not options.config.is_file():
        raise FileNotFoundError(
            f'--model: there is no config {options.config}'
        )
    if options.network not in NETWORKS:
        raise ValueError(
            f'--network must be {" or ".join(map(repr, NETWORKS))}, got '
            f'{options.network!r}'
        )
    if not 0 <= options.fairness_weight < float('inf'):
        raise ValueError(
            '--fairness-weight must not be negative, got '
            f'{options.fairness_weight}'
        )
    if options.epochs is not None and options.epochs < 1:
        raise ValueError(f'--epochs must be positive, got {options.epochs}')
    if options.runs is not None and options.runs < 1:
        raise ValueError(f'--runs must be positive, got {options.runs}')
    if not 0 <= options.reject < 1:
        raise ValueError(
            '--reject is a share of the images, from 0 to below 1, got '
            f'{options.reject}'
        )
    if options.review < 0:
        raise ValueError(
            f'--review must not be negative, got {options.review}'
        )
    for key in ('labels', 'after'):
        path = getattr(options, key)
        if path is not None and not _absolute(path).exists():
            raise FileNotFoundError(f'--{key}: there is no {path}')
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
    if options.eval is not None:
        check_folder(options.eval, '--eval')


def check_given(options: Options, given: Mapping) -> None:
    """Refuse options that a model that brings its own would not use.

    Args:
        options: The options.
        given: Those that were given, by name, without defaults.

    Raises:
        ValueError: If the start is described twice.
    """
    for name in ('pretrained', 'templates'):
        if options.config and given.get(name) is not None:
            raise ValueError(
                f'--{name} cannot be given with --model {options.config}: its '
                f'model.start is used as it is. Leave --{name} out, or change '
                'model.start in the config'
            )
    if options.brings_weights and given.get('pretrained') is not None:
        raise ValueError(
            f'--pretrained cannot be given with --model {options.model}, '
            'which brings its own weights. Leave --pretrained out'
        )


def check_folder(path: str, key: str) -> None:
    """Raise FileNotFoundError where an option names no folder."""
    folder = _absolute(path)
    if not folder.is_dir():
        what = 'is a file' if folder.exists() else 'does not exist'
        if folder.suffix.lower() in _ARCHIVES and folder.is_file():
            what = 'is an archive: unpack it, and give the folder'
        raise FileNotFoundError(f'{key}: the folder {path} {what}')


def check_out(path: Path, dry_run: bool = False) -> None:
    """Make the folder for the results, or say why that cannot be.

    Args:
        path: The folder.
        dry_run: Whether to leave it unmade.

    Raises:
        ValueError: If it is used already.
        OSError: If it cannot be written to.
    """
    if path.is_dir() and any(
        # hidden files may be those of a killed writer
        not is_clutter(p.name) or p.name.endswith('.partial')
        for p in path.iterdir()
    ):
        hint = (
            f'go on with its run by {going_on(path)}, or '
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


def going_on(out: Path) -> str:
    """The command that goes on with the run in a folder, to be pasted."""
    return f'must-adapt --resume {shlex.quote(str(out))}'


def load_moved(out: Path, images: str | Path | None = None) -> Options:
    """Read the options of a run whose images may lie elsewhere now.

    Args:
        out: Folder of the run.
        images: Their folder, if it is another.

    Raises:
        FileNotFoundError: If their folder has gone.
        ValueError: See :func:`load`.
    """
    options = load(out)
    if images is not None:
        return replace(options, images=str(_absolute(images)))
    if not options.folder.is_dir():
        raise FileNotFoundError(
            f'--resume {out}: its folder of images, {options.images}, does '
            'not exist; if it has moved, name it: must-adapt FOLDER --resume '
            f'{shlex.quote(str(out))}'
        )
    return options


def load(out: Path) -> Options:
    """Read the options of a run that is to go on.

    Raises:
        ValueError: If the folder holds no run of ``must-adapt``.
    """
    path = out / FILE
    try:
        given = json.loads(path.read_text(encoding='utf-8'))
        options = Options(**dict(given, out=str(out)))
        return replace(
            options,
            labels=options.labels and str((out / options.labels).resolve()),
            after=options.after and str((out / options.after).resolve()),
        )
    except FileNotFoundError as error:
        raise ValueError(
            f'--resume {out}: there is no run to go on with, {path} is missing'
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f'--resume: {path} is damaged: {error}') from error
