# SUN397. The partition 01 that comes with the data set, 19,850 images each
# to train and to score: the split used for the paper was not released.
_base_ = 'must_views.py'

_data = dict(type='SUN397', data_root='data/SUN397')
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
