# The quickstart without masking: self-training and fairness alone.
#
# Paper: https://arxiv.org/abs/2206.02967
# Measured: docs/accuracy.md
# Command: python tools/train.py \
#     configs/must/quickstart_digits_self-training.py
_base_ = ['quickstart_digits.py']

model = dict(masked_view='off')
train_pipeline = [*_base_.views, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
