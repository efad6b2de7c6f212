# The quickstart with the views of the published recipes (must_views.py).
#
# Paper: https://arxiv.org/abs/2206.02967
# Measured: benchmarks/performance.md, "In training"
# Command: python tools/train.py configs/must/quickstart_digits_crop-views.py
_base_ = ['quickstart_digits.py']

weak_view = [dict(type='EdgeCrop', size=32)]
strong_view = [
    dict(type='AreaCrop', size=32, share=(0.6, 1.0)),
    dict(type='PublishedRandAugment'),
]
views = [
    _base_.load,
    _base_.seed,
    dict(type='CropViews', transforms=[weak_view, strong_view]),
]
train_pipeline = [*views, _base_.mask, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
