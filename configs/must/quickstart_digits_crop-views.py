# The quickstart with the views of the published recipes (must_views.py).
#
# Paper: https://arxiv.org/abs/2206.02967
# Measured: docs/performance.md, "In training"
# Command: python tools/train.py configs/must/quickstart_digits_crop-views.py
_base_ = ['quickstart_digits.py']

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='CropViews',
    transforms=[
        [dict(type='EdgeCrop', size=32)],
        [
            dict(type='AreaCrop', size=32, share=(0.6, 1.0)),
            dict(type='PublishedRandAugment'),
        ],
    ],
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
