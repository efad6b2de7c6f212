# ImageNet-1k. Trained on the training set without labels, scored on the
# validation set.
_base_ = 'must_views.py'

_data = dict(type='ImageNet', data_root='data/imagenet')
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='val', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
