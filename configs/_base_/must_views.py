# The published views, mask and loaders (MUST, Appendix). A recipe adds the
# data sets, and the mask's block size and ratio.
_resize = dict(
    type='ResizeEdge', scale=224, backend='pillow', interpolation='bicubic'
)
train_pipeline = [
    # lazy: a JPEG is decoded no larger than the crops need
    dict(type='LoadImage', lazy=True),
    dict(type='SeedSample'),
    dict(
        type='CropViews',
        transforms=[
            [dict(type='EdgeCrop', size=224)],
            [
                dict(type='AreaCrop', size=224, share=(0.3, 1.0), flip=0.5),
                dict(type='PublishedRandAugment'),
            ],
        ],
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
    persistent_workers=True,
    pin_memory=True,
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
