# AdamW, layer decay on the encoder, own rate and decay for the head; per
# update a linear warm-up over a fifth of the training, then a cosine (MAE-CT,
# Appendix). Rates are per 256 views; an image gives two. They are stated for
# this total batch of images and follow another.
published_batch = 1024
_lr_per_256, _epochs = 1e-4, 20

optim_wrapper = dict(
    type='AutocastOptimWrapper',  # bfloat16
    constructor='HeadAndLayerDecayConstructor',
    optimizer=dict(
        type='AdamW',
        lr=_lr_per_256 * 2 * published_batch / 256,
        betas=(0.9, 0.95),
        weight_decay=0.05,
    ),
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        head_lr=_lr_per_256 * 2 * published_batch / 256,
        head_weight_decay=1e-5,
        # one-dimensional parameters do not decay
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)
param_scheduler = dict(
    type='WarmupCosineLR',
    warmup_ratio=0.2,
    end=_epochs,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=_epochs)
