# CIFAR-100, the official split: 50,000 and 10,000 images of 32x32 pixels,
# enlarged to 224.
_base_ = 'must_views.py'

# its images are arrays, nothing is read from files
views = [
    _base_.seed,
    dict(type='CropViews', transforms=[_base_.weak_view, _base_.strong_view]),
]
train_pipeline = [*views, _base_.mask, _base_.pack]
test_pipeline = [*_base_.test_view, _base_.pack]
_data = dict(type='CIFAR100BGR', data_root='data/cifar100', download=False)
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
