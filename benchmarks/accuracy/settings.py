"""The settings that are compared: configs of the quickstart."""

from __future__ import annotations

from mmengine.config import Config

from must_mm.quickstart.run import epoch_keys
from must_mm.utils.paths import config_path

CONFIGS = {
    'published': 'must/quickstart_digits.py',
    'self-training': 'must/quickstart_digits_self-training.py',
    'balanced': 'must/quickstart_digits_balanced.py',
}
WITH_PRIOR = '+prior'
#: One thing changed in the config of the balanced setting.
VARIANTS = {
    'running-mean': dict(
        alignment=dict(_delete_=True, type='DistributionAlignment')
    ),
    'half': dict(alignment=dict(strength=0.5)),
    'estimated-prior': dict(alignment=dict(prior='auto', strength=0.5)),
    'truncated-gaussian': dict(weights=dict(type='TruncatedGaussianWeights')),
    'adaptive-threshold': dict(weights=dict(type='SelfAdaptiveThreshold')),
    'prototypes': dict(prototypes=dict(type='Prototypes')),
    'anchor': dict(anchor=dict(type='StartAnchor', length=300)),
}
#: Names of all settings; those with a prior are told the share of each class.
SETTINGS = (
    *CONFIGS,
    *(name + WITH_PRIOR for name in CONFIGS),
    *VARIANTS,
)


def setting_config(name: str, shares: list[float], epochs: int) -> Config:
    """Build the config of a setting.

    Args:
        name: One of :data:`SETTINGS`.
        shares: Share of each class.
        epochs: Passes over the images.
    """
    base = 'balanced' if name in VARIANTS else name.removesuffix(WITH_PRIOR)
    cfg = Config.fromfile(config_path(CONFIGS[base]))
    if name in VARIANTS:
        cfg.merge_from_dict({'model.pseudo_labels': VARIANTS[name]})
    cfg.merge_from_dict(epoch_keys(cfg, epochs))
    if name.endswith(WITH_PRIOR):
        cfg.model.head.fairness.prior = shares
        if cfg.model.get('pseudo_labels'):
            cfg.model.pseudo_labels.alignment.prior = shares
    return cfg
