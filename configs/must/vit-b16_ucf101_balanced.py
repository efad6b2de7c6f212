# Balanced labels on UCF101, from OpenAI's CLIP ViT-B/16.
#
# Paper: https://arxiv.org/abs/2206.02967; what differs: docs/accuracy.md
# Not a recipe of the paper: its values with what must_balanced.py names; not
# tuned.
# Top-1: not measured
# Hardware: any; rates follow the total batch
# Command: tools/dist_train.sh configs/must/vit-b16_ucf101_balanced.py 8 --amp
_base_ = ['vit-b16_ucf101.py', '../_base_/must_balanced.py']

model = _base_.balanced
train_pipeline = [*_base_.views, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
param_scheduler = dict(_base_.warm_up, _delete_=True, end=_base_.epochs)
# A sixth of the 540 steps from the first one on.
teacher = dict(
    _base_.teacher, decay_start=0.9889, decay_end=0.9889, warmup_steps=0
)
custom_hooks = [teacher, *_base_.guards]
