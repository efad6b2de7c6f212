# Food-101, the official split: 75,750 and 25,250 images.
_base_ = 'must_views.py'

_data = dict(type='Food101', data_root='data/food-101')
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
