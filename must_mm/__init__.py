"""MUST and MAE-CT on MMPretrain: classifiers from unlabeled images.

Importing the package registers its parts in ``mmpretrain.registry`` and its
models in MMPretrain's hub, and makes MMEngine load checkpoints as plain data.
"""

import io
import warnings
from contextlib import redirect_stdout

from .utils.engine import check_engine

with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
    check_engine()
    # mmcv-lite on operators of mmcv, and OneDL's MMPretrain on its own data
    # service: nothing here uses either
    warnings.filterwarnings('ignore', 'Fail to import', UserWarning, 'mmcv')
    import mmcv.cnn.bricks.transformer  # noqa: F401
    import mmpretrain.datasets  # noqa: F401

from mmengine.config.utils import MODULE2PACKAGE
from mmpretrain.apis import ModelHub

from must_mm_cli import __version__ as __version__

from .checkpoints import plain  # noqa: F401
from .datasets import CIFAR10BGR, CIFAR100BGR, GTSRB, UCF101Frames
from .datasets.known_labels import KnownLabels, LabelledShareSampler
from .datasets.seeding import EpochSampler, SeedSample
from .datasets.skip_bad_images import SkipBadImages
from .engine.autocast import AutocastOptimWrapper
from .engine.bad_images import BadImageHook
from .engine.batch_norm import BatchNormHook
from .engine.blocks import CompileBlocksHook, RecomputeBlocksHook
from .engine.checkpoint_hook import SafeCheckpointHook
from .engine.collapse import CollapseHook
from .engine.ema_teacher import EMATeacherHook
from .engine.feature_loops import FeatureTestLoop, FeatureValLoop
from .engine.guards import (
    BatchCheckHook,
    ClassCheckHook,
    FairnessRestartHook,
)
from .engine.health import HealthHook
from .engine.host import FreezeGarbageHook, LoaderWaitHook
from .engine.knn_monitor import KNNMonitorHook
from .engine.late_scalars import LateRuntimeInfoHook
from .engine.loops import (
    TeacherStudentTestLoop,
    TeacherStudentValLoop,
    ValidateStartHook,
)
from .engine.maect_hooks import MAECTAveragesHook, MAECTCheckHook
from .engine.optim import (
    FewGroupsConstructor,
    HeadAndLayerDecayConstructor,
    LayerDecayConstructor,
    WarmupCosineLR,
)
from .engine.start_pass import StartPassHook
from .engine.visualizer import LateVisualizer
from .evaluation import KNNMetric
from .models.balanced_labels import BalancedLabels
from .models.distribution_alignment import DistributionAlignment
from .models.heads import (
    DistilledPseudoLabelHead,
    LinearPseudoLabelHead,
    PseudoLabelHead,
)
from .models.label_loss import LabelLoss
from .models.lean_vision_transformer import LeanVisionTransformer
from .models.losses import FairnessLoss, GlobalLocalAlignmentLoss
from .models.maect import MAECT
from .models.masking import MaskColour, MaskToken
from .models.must import MUST
from .models.necks import CLIPProjection, UnitFeature
from .models.neighbour_queue import NNQueue
from .models.nnclr import NNCLRHead
from .models.open_clip_backbone import OpenCLIPBackbone
from .models.preprocessor import TwoViewDataPreprocessor
from .models.prototypes import Prototypes
from .models.pseudo_labels import PseudoLabels
from .models.sample_weights import (
    SelfAdaptiveThreshold,
    TruncatedGaussianWeights,
)
from .models.start_anchor import StartAnchor
from .transforms import colours, shifts  # noqa: F401
from .transforms.crops import AreaCrop, EdgeCrop
from .transforms.loading import LoadImage
from .transforms.mask_generator import MUSTMaskGenerator
from .transforms.randaugment import PublishedRandAugment
from .transforms.views import CropViews
from .utils.paths import model_index_path
from .weights.open_clip_start import OpenCLIPStart
from .weights.start_file import ConvertedStart, load_classifier
from .weights.supervised import ClassifierStart

__all__ = [
    'AutocastOptimWrapper',
    'MAECT',
    'GTSRB',
    'MUST',
    'AreaCrop',
    'BadImageHook',
    'BalancedLabels',
    'BatchCheckHook',
    'BatchNormHook',
    'CIFAR100BGR',
    'CIFAR10BGR',
    'CLIPProjection',
    'ClassCheckHook',
    'CollapseHook',
    'CompileBlocksHook',
    'ConvertedStart',
    'CropViews',
    'ClassifierStart',
    'DistilledPseudoLabelHead',
    'DistributionAlignment',
    'EMATeacherHook',
    'EdgeCrop',
    'EpochSampler',
    'FairnessLoss',
    'FairnessRestartHook',
    'FewGroupsConstructor',
    'FreezeGarbageHook',
    'FeatureTestLoop',
    'FeatureValLoop',
    'GlobalLocalAlignmentLoss',
    'HealthHook',
    'KNNMetric',
    'KNNMonitorHook',
    'HeadAndLayerDecayConstructor',
    'KnownLabels',
    'LabelLoss',
    'LabelledShareSampler',
    'LateRuntimeInfoHook',
    'LateVisualizer',
    'LayerDecayConstructor',
    'LoadImage',
    'LoaderWaitHook',
    'MAECTAveragesHook',
    'MAECTCheckHook',
    'LeanVisionTransformer',
    'LinearPseudoLabelHead',
    'MUSTMaskGenerator',
    'MaskColour',
    'MaskToken',
    'NNCLRHead',
    'NNQueue',
    'OpenCLIPBackbone',
    'OpenCLIPStart',
    'PseudoLabelHead',
    'Prototypes',
    'PseudoLabels',
    'PublishedRandAugment',
    'RecomputeBlocksHook',
    'SafeCheckpointHook',
    'SeedSample',
    'SelfAdaptiveThreshold',
    'SkipBadImages',
    'StartAnchor',
    'StartPassHook',
    'TeacherStudentTestLoop',
    'TeacherStudentValLoop',
    'TruncatedGaussianWeights',
    'TwoViewDataPreprocessor',
    'UnitFeature',
    'UCF101Frames',
    'ValidateStartHook',
    'WarmupCosineLR',
    'load_classifier',
]

# Lets other projects inherit from 'must_mm::must/NAME.py'.
MODULE2PACKAGE['must_mm'] = 'must_mm'

_index = model_index_path()
ModelHub.register_model_index(_index, config_prefix=_index.parent)
