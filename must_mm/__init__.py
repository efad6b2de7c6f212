"""MUST and MAE-CT on MMPretrain: classifiers from unlabeled images.

Importing the package registers its parts in ``mmpretrain.registry`` and its
models in MMPretrain's hub, and makes MMEngine load checkpoints as plain data.
"""

from mmengine.config.utils import MODULE2PACKAGE
from mmpretrain.apis import ModelHub

from . import checkpoint, colours, replay, shifts
from .augment import PublishedRandAugment
from .autocast import AutocastOptimWrapper
from .bad_images import BadImageHook, SkipBadImages
from .blocks import CompileBlocksHook, RecomputeBlocksHook
from .checkpoint_hook import SafeCheckpointHook
from .classifier import (
    CLIPProjection,
    DistilledPseudoLabelHead,
    LinearPseudoLabelHead,
    PseudoLabelHead,
)
from .configs import model_index_path
from .converted import ConvertedStart, load_classifier
from .crops import AreaCrop, EdgeCrop
from .datasets import CIFAR10BGR, CIFAR100BGR, GTSRB, UCF101Frames
from .evaluation import (
    FeatureTestLoop,
    FeatureValLoop,
    KNNMetric,
    KNNMonitorHook,
)
from .guards import ClassCheckHook, FairnessRestartHook
from .health import HealthHook
from .late_scalars import LateRuntimeInfoHook
from .loading import LoadImage
from .losses import FairnessLoss, GlobalLocalAlignmentLoss
from .maect import MAECT
from .maect_hooks import MAECTAveragesHook, MAECTCheckHook
from .masking import MaskColour, MaskToken, MUSTMaskGenerator
from .must import MUST
from .nnclr import NNCLRHead
from .open_clip_backbone import OpenCLIPBackbone, UnitFeature
from .optim import (
    HeadAndLayerDecayConstructor,
    LayerDecayConstructor,
    WarmupCosineLR,
)
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
from .views import CropViews

__version__ = '0.1.0'
__all__ = [
    'AutocastOptimWrapper',
    'MAECT',
    'GTSRB',
    'MUST',
    'AreaCrop',
    'BadImageHook',
    'CIFAR100BGR',
    'CIFAR10BGR',
    'CLIPProjection',
    'ClassCheckHook',
    'CompileBlocksHook',
    'ConvertedStart',
    'CropViews',
    'ClassifierStart',
    'DistilledPseudoLabelHead',
    'EMATeacherHook',
    'EdgeCrop',
    'EpochSampler',
    'FairnessLoss',
    'FairnessRestartHook',
    'FeatureTestLoop',
    'FeatureValLoop',
    'GlobalLocalAlignmentLoss',
    'HealthHook',
    'KNNMetric',
    'KNNMonitorHook',
    'HeadAndLayerDecayConstructor',
    'LateRuntimeInfoHook',
    'LayerDecayConstructor',
    'LoadImage',
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
    'PublishedRandAugment',
    'RecomputeBlocksHook',
    'SafeCheckpointHook',
    'SeedSample',
    'SkipBadImages',
    'TeacherStudentTestLoop',
    'TeacherStudentValLoop',
    'TwoViewDataPreprocessor',
    'UnitFeature',
    'UCF101Frames',
    'ValidateStartHook',
    'WarmupCosineLR',
    'checkpoint',
    'colours',
    'load_classifier',
    'replay',
    'shifts',
]

# Lets other projects inherit from 'must_mm::must/NAME.py'.
MODULE2PACKAGE['must_mm'] = 'must_mm'

_index = model_index_path()
ModelHub.register_model_index(_index, config_prefix=_index.parent)
