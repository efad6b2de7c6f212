"""What the command lines of the tools share."""

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmpretrain import get_model

from ..must import MUST, STUDENT, TEACHER


def parser(description: str) -> argparse.ArgumentParser:
    """Start a command line with a config and overrides of its keys."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
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
    cfg.merge_from_dict(args.cfg_options)
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


def without_start(cfg: Config) -> Config:
    """Copy a config for a model whose weights come from elsewhere."""
    cfg = Config(cfg.to_dict())
    cfg.model.start = None
    return cfg
