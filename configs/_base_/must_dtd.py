# DTD, the official split 1: 3,760 images of train and val to train,
# 1,880 of test to score.
_base_ = 'must_views.py'

_data = dict(type='DTD', data_root='data/dtd')
train_dataloader = dict(
    dataset=dict(**_data, split='trainval', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
