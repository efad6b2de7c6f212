"""A folder of photos and a list of class names: ``must-adapt``."""

from must_mm_cli.options import Options

from .later import classify_more
from .result import Result
from .run import adapt, dry_run, resume

__all__ = ['Options', 'Result', 'adapt', 'classify_more', 'dry_run', 'resume']
