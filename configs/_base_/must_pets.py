# Oxford-IIIT Pets, the official split: 3,680 and 3,669 images. Scored by the
# mean accuracy per class.
_base_ = 'must_views.py'

_data = dict(type='OxfordIIITPet', data_root='data/Oxford-IIIT_Pets')
train_dataloader = dict(
    dataset=dict(**_data, split='trainval', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='SingleLabelMetric', items=('recall',)
)
test_evaluator = val_evaluator
