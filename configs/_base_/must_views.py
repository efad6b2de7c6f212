# The published views, mask and loaders (MUST, Appendix). A recipe adds the
# data sets, and the mask's block size and ratio.
_resize = dict(
    type='ResizeEdge', scale=224, backend='pillow', interpolation='bicubic'
)
_weak_view = [_resize, dict(type='RandomCrop', crop_size=224)]
_strong_view = [
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.3, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 117, 123], interpolation='bicubic'),
    ),
]
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='SeedSample'),
    dict(
        type='MultiView',
        num_views=[1, 1],
        transforms=[_weak_view, _strong_view],
    ),
    dict(
        type='MUSTMaskGenerator',
        input_size=224,
        mask_patch_size=32,
        model_patch_size=16,
        mask_ratio=0.3,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    _resize,
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=1)
