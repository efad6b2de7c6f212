# ImageNet-1k in the two views of BYOL, in the order of the published system:
# crop, flip, jitter, blur, grey, solarize. The labels are for the log
# (nn_accuracy) alone.
crop_and_flip = [
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.08, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
]
# torchvision's, as MMCV's own cannot lower the hue with NumPy 2
jitter = dict(
    type='RandomApply',
    prob=0.8,
    transforms=[
        dict(type='NumpyToPIL', to_rgb=True),
        dict(
            type='torchvision/ColorJitter',
            brightness=0.4,
            contrast=0.4,
            saturation=0.2,
            hue=0.1,
        ),
        dict(type='PILToNumpy', to_bgr=True),
    ],
)
blur = dict(
    type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf'
)
# the images are BGR
grey = dict(
    type='RandomGrayscale',
    prob=0.2,
    keep_channels=True,
    channel_weights=(0.114, 0.587, 0.2989),
)
first_view = [*crop_and_flip, jitter, dict(blur, prob=1.0), grey]
second_view = [
    *crop_and_flip,
    jitter,
    dict(blur, prob=0.1),
    grey,
    dict(type='Solarize', thr=128, prob=0.2),
]
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='SeedSample'),
    dict(
        type='MultiView',
        num_views=[1, 1],
        transforms=[first_view, second_view],
    ),
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
