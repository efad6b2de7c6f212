"""Data sets that MMPretrain lacks, class names and prompt templates."""

from .cifar import CIFAR10BGR, CIFAR100BGR
from .gtsrb import GTSRB
from .names import class_names, class_table, templates
from .ucf101 import UCF101Frames

__all__ = [
    'CIFAR100BGR',
    'CIFAR10BGR',
    'GTSRB',
    'UCF101Frames',
    'class_names',
    'class_table',
    'templates',
]
