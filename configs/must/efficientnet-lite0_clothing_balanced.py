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
_base_ = ['efficientnet-lite0_clothing.py']

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
    end=3,
    convert_to_iter_based=True,
)
