"""MUST on MMPretrain: better zero-shot classifiers from unlabeled images.

Importing the package registers its parts in ``mmpretrain.registry``.
"""

from . import checkpoint  # noqa: F401, loading is safe from here on
from .classifier import CLIPProjection, PseudoLabelHead
from .guards import FairnessRestartHook, FiniteLossHook
from .losses import FairnessLoss, GlobalLocalAlignmentLoss
from .masking import MaskToken, MUSTMaskGenerator
from .must import MUST
from .preprocessor import TwoViewDataPreprocessor
from .replay import RecordedViews
from .seeding import EpochSampler, SeedSample
from .start import OpenCLIPStart
from .teacher import (EMATeacherHook, TeacherStudentTestLoop,
                      TeacherStudentValLoop)

__version__ = '0.1.0'
