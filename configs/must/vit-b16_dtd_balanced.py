# Balanced labels on DTD, from OpenAI's CLIP ViT-B/16.
#
# Paper: https://arxiv.org/abs/2206.02967; what differs: docs/accuracy.md
# Not a recipe of the paper: its values, without masks, with labels that are
# balanced half the way, a warm-up and a steady teacher; not tuned.
# Top-1: not measured
# Hardware: any; rates follow the total batch
# Command: tools/dist_train.sh configs/must/vit-b16_dtd_balanced.py 8 --amp
_base_ = 'vit-b16_dtd.py'

model = dict(
    masked_view='off',
    pseudo_labels=dict(alignment=dict(type='BalancedLabels', strength=0.5)),
)
train_pipeline = [*_base_.views, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
param_scheduler = dict(
    _delete_=True,
    type='WarmupCosineLR',
    warmup_ratio=0.2,
    end=_base_.epochs,
    convert_to_iter_based=True,
)
# A sixth of the 180 steps from the first one on.
teacher = dict(
    _base_.teacher, decay_start=0.9667, decay_end=0.9667, warmup_steps=0
)
custom_hooks = [teacher, *_base_.guards]
