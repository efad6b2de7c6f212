# Balanced labels on photographs of clothes, from a supervised
# EfficientNet-Lite0 whose ImageNet head is merged to ten classes. 160 pixels,
# two CPU cores.
#
# Paper: https://arxiv.org/abs/2206.02967; what differs: docs/accuracy.md
# Measured: docs/accuracy.md
# Command: python tools/train.py \
#     configs/must/efficientnet-lite0_clothing_balanced.py
# (with the start file that tools/benchmark.py photos has put there, and the
# photos in data/clothing)
_base_ = ['efficientnet-lite0_clothing.py', '../_base_/must_balanced.py']

model = _base_.balanced
train_pipeline = [*_base_.views, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# a fifth of 285 steps is more than they have to give
param_scheduler = dict(_base_.warm_up, _delete_=True, warmup_ratio=0.05, end=3)
