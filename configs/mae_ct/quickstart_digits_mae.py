# Stage 1 of the MAE-CT quickstart: MMPretrain's masked autoencoder on
# scikit-learn's handwritten digits. 32-pixel images, 16 tokens, CPU.
#
# Paper: https://arxiv.org/abs/2304.10520
# Commands: bash tools/maect_quickstart.sh (everything, from an empty machine)
#           python tools/train.py configs/mae_ct/quickstart_digits_mae.py
_base_ = ['../_base_/maect_runtime.py']
root = 'work_dirs/maect_quickstart'
image_size, patch_size, width = 32, 8, 96
batch_size, epochs = 64, 150

custom_hooks = [dict(type='HealthHook'), dict(type='BadImageHook')]
model = dict(
    type='MAE',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='MAEViT',
        arch=dict(
            embed_dims=width,
            num_layers=4,
            num_heads=3,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
        patch_size=patch_size,
        mask_ratio=0.5,
    ),
    neck=dict(
        type='MAEPretrainDecoder',
        num_patches=(image_size // patch_size) ** 2,
        patch_size=patch_size,
        embed_dim=width,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=2,
    ),
    head=dict(
        type='MAEPretrainHead',
        patch_size=patch_size,
        loss=dict(type='PixelReconstructionLoss', criterion='L2'),
    ),
)
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
        ann_file='train_labels.txt',
        data_prefix='train',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='SeedSample'),
            dict(
                type='RandomResizedCrop',
                scale=image_size,
                crop_ratio_range=(0.6, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='PackInputs'),
        ],
    ),
)
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
param_scheduler = dict(
    type='WarmupCosineLR',
    warmup_ratio=0.1,
    end=epochs,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=18),
    checkpoint=dict(type='SafeCheckpointHook', interval=50, max_keep_ckpts=1),
)
