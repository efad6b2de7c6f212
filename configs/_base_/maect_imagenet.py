# ImageNet-1k in two minimal views (MAE-CT, Sec. 4): crop and flip. The labels
# are for the log (nn_accuracy) alone.
view = [
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.08, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='SeedSample'),
    dict(type='MultiView', num_views=[2], transforms=[view]),
    dict(type='PackInputs'),
]
# num_workers=True: tools/train.py and tools/test.py count the cores, to other
# tools it is 1; a number of yours is taken as it is.
train_dataloader = dict(
    batch_size=128,  # of 8 processes
    num_workers=True,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root='data/imagenet',
        split='train',
        pipeline=train_pipeline,
    ),
)
