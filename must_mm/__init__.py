"""MUST and MAE-CT on MMPretrain: classifiers from unlabeled images.

Importing the package registers its parts in ``mmpretrain.registry`` and makes
MMEngine load checkpoints as plain data.
"""

from mmengine.config.utils import MODULE2PACKAGE

from . import checkpoint, replay
from .classifier import (
    CLIPProjection,
    DistilledPseudoLabelHead,
    LinearPseudoLabelHead,
    PseudoLabelHead,
)
from .converted import ConvertedStart, load_classifier
from .evaluation import (
    FeatureTestLoop,
    FeatureValLoop,
    KNNMetric,
    KNNMonitorHook,
)
from .guards import ClassCheckHook, FairnessRestartHook, FiniteLossHook
from .losses import FairnessLoss, GlobalLocalAlignmentLoss
from .maect import MAECT
from .maect_hooks import MAECTAveragesHook, MAECTCheckHook
from .masking import MaskColour, MaskToken, MUSTMaskGenerator
from .must import MUST
from .nnclr import NNCLRHead
from .open_clip_backbone import OpenCLIPBackbone, UnitFeature
from .optim import HeadAndLayerDecayConstructor, WarmupCosineLR
from .preprocessor import TwoViewDataPreprocessor
from .queue import NNQueue
from .seeding import EpochSampler, SeedSample
from .start import OpenCLIPStart
from .supervised import ClassifierStart
from .teacher import (
    EMATeacherHook,
    TeacherStudentTestLoop,
    TeacherStudentValLoop,
    ValidateStartHook,
)

__version__ = '0.1.0'
__all__ = [
    'MAECT',
    'MUST',
    'CLIPProjection',
    'ClassCheckHook',
    'ConvertedStart',
    'ClassifierStart',
    'DistilledPseudoLabelHead',
    'EMATeacherHook',
    'EpochSampler',
    'FairnessLoss',
    'FairnessRestartHook',
    'FeatureTestLoop',
    'FeatureValLoop',
    'FiniteLossHook',
    'GlobalLocalAlignmentLoss',
    'KNNMetric',
    'KNNMonitorHook',
    'HeadAndLayerDecayConstructor',
    'MAECTAveragesHook',
    'MAECTCheckHook',
    'LinearPseudoLabelHead',
    'MUSTMaskGenerator',
    'MaskColour',
    'MaskToken',
    'NNCLRHead',
    'NNQueue',
    'OpenCLIPBackbone',
    'OpenCLIPStart',
    'PseudoLabelHead',
    'SeedSample',
    'TeacherStudentTestLoop',
    'TeacherStudentValLoop',
    'TwoViewDataPreprocessor',
    'UnitFeature',
    'ValidateStartHook',
    'WarmupCosineLR',
    'checkpoint',
    'load_classifier',
    'replay',
]

# Lets other projects inherit from 'must_mm::must/NAME.py'.
MODULE2PACKAGE['must_mm'] = 'must_mm'
