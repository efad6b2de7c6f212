# The quickstart with labels that spread evenly over the classes, a warm-up,
# a steady teacher and no masks: what must-adapt does.
#
# Paper: https://arxiv.org/abs/2206.02967
# Measured: docs/accuracy.md
# What differs, and why: docs/accuracy.md
# Command: python tools/train.py configs/must/quickstart_digits_balanced.py
_base_ = ['quickstart_digits.py', '../_base_/must_balanced.py']
lr_per_256 = 4e-3

model = _base_.balanced
train_pipeline = [*_base_.views, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=lr_per_256 * _base_.batch_size / 256))
param_scheduler = dict(_base_.warm_up, _delete_=True, end=_base_.epochs)
# 540 steps: it averages over a fifth of them from the beginning
teacher = dict(
    _base_.teacher, decay_start=0.99, decay_end=0.99, warmup_steps=0
)
custom_hooks = [teacher, *_base_.guards]
