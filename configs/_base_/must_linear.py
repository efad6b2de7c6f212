# A supervised classifier (pooled map, linear layer) as student and teacher,
# with MUST's parts. To set: backbone, num_classes, in_channels, start.
_base_ = ['must_runtime.py']

model = dict(
    type='MUST',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearPseudoLabelHead',
        threshold=0.7,
        fairness=dict(type='FairnessLoss', loss_weight=1.0),
    ),
    # the stride of the last feature map of most hierarchical networks
    decoder=dict(type='SimMIMLinearDecoder', encoder_stride=32),
    mim_head=dict(
        type='SimMIMHead',
        patch_size=32,
        loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3),
    ),
    align_loss=dict(type='GlobalLocalAlignmentLoss', loss_weight=0.2),
    predict_with='student',
    data_preprocessor=dict(
        type='TwoViewDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)
# A short schedule. No layer decay: not every network knows depths.
optim_wrapper = dict(
    constructor='FewGroupsConstructor',
    optimizer=dict(
        type='AdamW',
        lr=2e-4,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        fused=True,
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=3,
    eta_min_ratio=0.05,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=3)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
# 95 steps an epoch: the teacher averages about one of them
teacher = dict(
    _base_.teacher, decay_start=0.99, decay_end=0.99, warmup_steps=0
)
custom_hooks = [teacher, *_base_.guards]
