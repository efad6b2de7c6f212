# AdamW with layer decay and a cosine to a floor, per iteration (MUST,
# Appendix). The published rate is 2e-5 per 256 images, the floor 1e-6.
_lr_per_256, _batch, _epochs = 2e-5, 1024, 30

optim_wrapper = dict(
    constructor='LayerDecayConstructor',
    optimizer=dict(
        type='AdamW',
        lr=_lr_per_256 * _batch / 256,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
        fused=True,
    ),
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        # one-dimensional parameters do not decay; CLIP's class embedding is
        # one of them, though it has three dimensions here
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'backbone.cls_token': dict(decay_mult=0.0)},
    ),
)
# A ratio, not an absolute floor: layer decay scales the floor as well.
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=_epochs,
    eta_min_ratio=1e-6 / _lr_per_256,
    convert_to_iter_based=True,
)
