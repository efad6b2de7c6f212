# The published views, mask and loaders (MUST, Appendix), by name. A recipe
# adds the data sets, and the mask's block size and ratio.

# lazy: a JPEG is decoded no larger than the crops need
load = dict(type='LoadImage', lazy=True)
seed = dict(type='SeedSample')
weak_view = [dict(type='EdgeCrop', size=224)]
strong_view = [
    dict(type='AreaCrop', size=224, share=(0.3, 1.0), flip=0.5),
    dict(type='PublishedRandAugment'),
]
views = [
    load,
    seed,
    dict(type='CropViews', transforms=[weak_view, strong_view]),
]
mask = dict(
    type='MUSTMaskGenerator',
    input_size=224,
    mask_patch_size=32,
    model_patch_size=16,
    mask_ratio=0.3,
)
pack = dict(type='PackInputs')
train_pipeline = [*views, mask, pack]

test_view = [
    dict(
        type='ResizeEdge', scale=224, backend='pillow', interpolation='bicubic'
    ),
    dict(type='CenterCrop', crop_size=224),
]
test_pipeline = [dict(type='LoadImage'), *test_view, pack]
# num_workers=True: tools/train.py and tools/test.py count the cores, to other
# tools it is 1; a number of yours is taken as it is.
train_dataloader = dict(
    batch_size=64,
    num_workers=True,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=1)
