"""Data sets that MMPretrain lacks, class names and prompt templates."""

from .gtsrb import GTSRB
from .names import class_names, class_table, templates
from .rgb import RGBToBGR
from .ucf101 import UCF101Frames

__all__ = [
    'GTSRB',
    'RGBToBGR',
    'UCF101Frames',
    'class_names',
    'class_table',
    'templates',
]
