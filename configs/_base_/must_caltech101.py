# Caltech-101 with its background class. No split is official: 30 images a
# class to train, the rest to score, drawn with seed 0 by
# tools/prepare_dataset.py caltech101 ROOT --make-split. Scored by the mean
# accuracy per class.
_base_ = 'must_views.py'

_data = dict(type='Caltech101', data_root='data/caltech-101')
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='test', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='SingleLabelMetric', items=('recall',)
)
test_evaluator = val_evaluator
