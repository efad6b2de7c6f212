# Stage 2 of the MAE-CT quickstart: the head on the frozen encoder.
#
# Paper: https://arxiv.org/abs/2304.10520
# Commands: bash tools/maect_quickstart.sh (everything, from an empty machine)
#           python tools/train.py configs/mae_ct/quickstart_digits_stage2.py
_base_ = [
    '../_base_/maect_head.py',
    '../_base_/maect_schedule.py',
    '../_base_/maect_runtime.py',
]
root = 'work_dirs/maect_quickstart'
image_size, patch_size, width, dim = 32, 8, 96, 64
batch_size, epochs = 64, 10
published_batch = batch_size  # of the rates below

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=width,
            num_layers=4,
            num_heads=3,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
        patch_size=patch_size,
        out_type='featmap',
        frozen_stages=4,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        projector=dict(in_channels=width, hid_channels=256, out_channels=dim),
        predictor=dict(in_channels=dim, hid_channels=512, out_channels=dim),
        queue=dict(size=1024, dim=dim),
    ),
)
# No flip: a mirrored digit is another sign or none.
view = [
    dict(
        type='RandomResizedCrop',
        scale=image_size,
        crop_ratio_range=(0.5, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(
        type='Rotate', magnitude_range=(0, 15), magnitude_std='inf', prob=0.8
    ),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=f'{root}/digits',
        # These labels are for the log (nn_accuracy) alone.
        ann_file='train_labels.txt',
        data_prefix='train',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='SeedSample'),
            dict(type='MultiView', num_views=[2], transforms=[view]),
            dict(type='PackInputs'),
        ],
    ),
)
optim_wrapper = dict(
    _delete_=True,
    constructor='HeadAndLayerDecayConstructor',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05
    ),
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        head_lr=1e-3,
        head_weight_decay=1e-5,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)
param_scheduler = dict(end=epochs)
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(logger=dict(interval=18))
load_from = f'{root}/mae/epoch_150.pth'
