"""The settings that are compared, as changes of the quickstart's config."""

from __future__ import annotations

from mmengine.config import Config

#: Warm-up of the rate, in steps.
WARMUP = 100


def published(cfg: Config, prior: list[float] | None) -> None:
    """MUST as published."""
    if prior:
        cfg.model.head.fairness.prior = prior


def self_training(cfg: Config, prior: list[float] | None) -> None:
    """Self-training and fairness alone."""
    published(cfg, prior)
    cfg.model.masked_view = 'off'


def balanced(cfg: Config, prior: list[float] | None) -> None:
    """Balanced labels, a warm-up, a slower teacher, no mask."""
    self_training(cfg, prior)
    cfg.model.pseudo_labels = dict(
        alignment=dict(type='BalancedLabels', strength=0.5)
    )
    if prior:
        cfg.model.pseudo_labels.alignment.prior = prior
    cfg.optim_wrapper.optimizer.lr *= 2
    cfg.param_scheduler.eta_min_ratio /= 2
    for hook in cfg.custom_hooks:
        if hook.type == 'EMATeacherHook':
            hook.update(decay_start=0.99, decay_end=0.99)
    cfg.param_scheduler = [
        dict(
            type='LinearLR',
            start_factor=1 / WARMUP,
            by_epoch=False,
            end=WARMUP,
        ),
        cfg.param_scheduler,
    ]


def _without_prior(setting):
    return lambda cfg, _prior: setting(cfg, None)


#: Changes of the config by the setting's name; given the config and the
#: share of each class where the classes are not balanced.
SETTINGS = {
    'published': _without_prior(published),
    'self-training': _without_prior(self_training),
    'balanced': _without_prior(balanced),
    'published+prior': published,
    'self-training+prior': self_training,
    'balanced+prior': balanced,
}
