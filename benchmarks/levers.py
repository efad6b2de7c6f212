"""The levers of the training step: each takes a slow config to a fast one."""

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from must_mm.models.lean_vision_transformer import reading
from must_mm.models.must import MUST


@MODELS.register_module()
class MUSTWithoutInferenceMode(MUST):
    """MUST whose teacher runs without gradient, but not in inference mode."""

    @torch.no_grad()
    def teacher_sees(
        self, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with reading(self.teacher.backbone, self.class_token(images)):
            feats = self.teacher.extract_feat(images)
        probs = self.teacher.head(feats).float().softmax(dim=1)
        return probs, self.teacher.head.joint_feature(feats)


def hook(cfg: Config, kind: str) -> dict:
    """Find a hook among the custom hooks of a config."""
    return next(found for found in cfg.custom_hooks if found.type == kind)


def slow(cfg: Config) -> None:
    """Turn every lever off."""
    cfg.model.decode = 'all'
    cfg.model.type = 'MUSTWithoutInferenceMode'
    cfg.optim_wrapper.optimizer.fused = False
    hook(cfg, 'HealthHook').interval = 1
    cfg.default_hooks.runtime_info = dict(type='RuntimeInfoHook')
    cfg.optim_wrapper.constructor = 'LearningRateDecayOptimWrapperConstructor'
    cfg.attention = 'eager'
    cfg.model.backbone.type = 'VisionTransformer'


def masked_decoding(cfg: Config) -> None:
    cfg.model.decode = 'masked'


def lean_transformer(cfg: Config) -> None:
    cfg.model.backbone.type = 'LeanVisionTransformer'


def inference_mode(cfg: Config) -> None:
    cfg.model.type = 'MUST'


def fused_adamw(cfg: Config) -> None:
    cfg.optim_wrapper.optimizer.fused = True


def joined_groups(cfg: Config) -> None:
    cfg.optim_wrapper.constructor = 'LayerDecayConstructor'


def late_scalars(cfg: Config) -> None:
    hook(cfg, 'HealthHook').interval = 10
    cfg.default_hooks.runtime_info = dict(type='LateRuntimeInfoHook')


def sdpa(cfg: Config) -> None:
    cfg.attention = 'sdpa'


def compiled(cfg: Config) -> None:
    cfg.custom_hooks.append(dict(type='CompileBlocksHook'))


def checkpointing(cfg: Config) -> None:
    cfg.custom_hooks.append(dict(type='RecomputeBlocksHook'))


DEFAULT_LEVERS = {
    'SDPA': sdpa,
    'fused AdamW': fused_adamw,
    'parameters of equal settings in one group': joined_groups,
    'teacher in inference mode': inference_mode,
    'scalars read late': late_scalars,
    'decoder on masked patches': masked_decoding,
    'lean transformer': lean_transformer,
}
OPTIONAL_LEVERS = {
    'compiled blocks': compiled,
    'activation checkpointing': checkpointing,
}
