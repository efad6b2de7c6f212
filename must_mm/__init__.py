"""MUST on MMPretrain: better zero-shot classifiers from unlabeled images.

Importing the package registers its parts in ``mmpretrain.registry`` and its
models in MMPretrain's hub, and makes MMEngine load checkpoints as plain data.
"""

from mmengine.config.utils import MODULE2PACKAGE
from mmpretrain.apis import ModelHub

from . import checkpoint, replay
from .classifier import CLIPProjection, PseudoLabelHead
from .configs import model_index_path
from .datasets import CIFAR10BGR, CIFAR100BGR, GTSRB, UCF101Frames
from .guards import ClassCheckHook, FairnessRestartHook, FiniteLossHook
from .losses import FairnessLoss, GlobalLocalAlignmentLoss
from .masking import MaskToken, MUSTMaskGenerator
from .must import MUST
from .preprocessor import TwoViewDataPreprocessor
from .seeding import EpochSampler, SeedSample
from .start import OpenCLIPStart
from .teacher import (
    EMATeacherHook,
    TeacherStudentTestLoop,
    TeacherStudentValLoop,
    ValidateStartHook,
)

__version__ = '0.1.0'
__all__ = [
    'GTSRB',
    'MUST',
    'CIFAR100BGR',
    'CIFAR10BGR',
    'CLIPProjection',
    'ClassCheckHook',
    'EMATeacherHook',
    'EpochSampler',
    'FairnessLoss',
    'FairnessRestartHook',
    'FiniteLossHook',
    'GlobalLocalAlignmentLoss',
    'MUSTMaskGenerator',
    'MaskToken',
    'OpenCLIPStart',
    'PseudoLabelHead',
    'SeedSample',
    'TeacherStudentTestLoop',
    'TeacherStudentValLoop',
    'TwoViewDataPreprocessor',
    'UCF101Frames',
    'ValidateStartHook',
    'checkpoint',
    'replay',
]

# Lets other projects inherit from 'must_mm::must/NAME.py'.
MODULE2PACKAGE['must_mm'] = 'must_mm'

_index = model_index_path()
ModelHub.register_model_index(_index, config_prefix=_index.parent)
