"""A folder of photos and a list of class names: ``must-adapt``."""

from must_mm_cli.options import Options

from .result import Result
from .run import adapt, dry_run, resume

__all__ = ['Options', 'Result', 'adapt', 'dry_run', 'resume']
