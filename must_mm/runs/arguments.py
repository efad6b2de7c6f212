"""What the command lines of the tools share."""

import argparse
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmpretrain import get_model

from ..models.must import MUST, STUDENT, TEACHER
from ..utils.pipelines import pipeline_of
from .named_parts import merge_options


class OverrideAction(DictAction):
    """Reads ``KEY=VALUE`` pairs; what is none is an error of the user's."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the pairs to those read so far."""
        for value in values:
            try:
                super().__call__(parser, namespace, [value], option_string)
            except (AssertionError, ValueError):
                raise argparse.ArgumentError(
                    self,
                    f'{value!r} is no KEY=VALUE, such as '
                    'model.head.threshold=0.5',
                ) from None


def positive(text: str) -> int:
    """Read a positive integer, as a ``type`` of :mod:`argparse`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no positive integer')
    return int(text)


def parser(description: str) -> argparse.ArgumentParser:
    """Start a command line with a config and overrides of its keys."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverrideAction,
        default={},
        metavar='KEY=VALUE',
        help='override config keys',
    )
    return parser


def read_config(args: argparse.Namespace) -> Config:
    """Read the config with the command line's overrides.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'there is no config {args.config}')
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    init_default_scope('mmpretrain')
    return cfg


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add checkpoint, network and device to a command line."""
    parser.add_argument('checkpoint', help='checkpoint of a training')
    parser.add_argument(
        '--who', choices=[STUDENT, TEACHER], default=STUDENT, help='network'
    )
    parser.add_argument('--device', default='cpu')


def read_model(cfg: Config, args: argparse.Namespace) -> MUST:
    """Build the model in eval mode and load the checkpoint."""
    model = get_model(without_start(cfg), args.checkpoint, args.device)
    model.predict_with = args.who
    return model


def image_size(cfg: Config, asked: int | None) -> int:
    """Side of the images in pixels: ``--size``, or the config's.

    Raises:
        ValueError: If none is asked for and the config does not tell.
    """
    masked, tested = (
        pipeline_of((cfg.get(f'{loader}_dataloader') or {}).get('dataset'))
        for loader in ('train', 'test')
    )
    steps = [step.get('input_size') for step in masked]
    for step in reversed(tested):  # what comes last makes the size
        steps.append(step.get('crop_size') or step.get('scale'))
    for size in (asked, cfg.model.backbone.get('img_size'), *steps):
        if size:
            return size if isinstance(size, int) else size[0]
    raise ValueError(
        'neither model.backbone.img_size nor a step of the pipelines '
        'gives the size of the images: give it with --size'
    )


@contextmanager
def naming_loader(
    key: str,
    kinds: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError),
) -> Iterator[None]:
    """Name the config key of a loader whose images cannot be read.

    Args:
        key: Config key of the loader.
        kinds: Errors that missing data raise.

    Raises:
        ValueError: If what is done inside does not find its data.
    """
    try:
        yield
    except kinds as error:
        raise ValueError(
            f'{key}: no images could be read ({error}). Check '
            'dataset.data_root, data_prefix and ann_file'
        ) from error


def without_start(cfg: Config) -> Config:
    """Copy a config for a model whose weights come from elsewhere."""
    cfg = copy.deepcopy(cfg)
    cfg.model.start = None
    return cfg
