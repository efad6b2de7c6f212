# SUN397. The partition 01 that comes with the data set, 19,850 images each
# to train and to score: the split used for the paper was not released.
_base_ = 'must_views.py'

# some of its files are not JPEG, whatever their names say
_load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
train_pipeline = [_load, *_base_.train_pipeline[1:]]
test_pipeline = [_load, *_base_.test_pipeline[1:]]
_data = dict(type='SUN397', data_root='data/SUN397')
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
