# Balanced labels on your own images with one GPU: LayerNorms and classifier.
#
# Paper: https://arxiv.org/abs/2206.02967
# Not a recipe of the paper, not tuned. Top-1: not measured
# Hardware: one GPU
# Command: python tools/train.py configs/must/vit-b16_custom_single-gpu.py
#
# Only these train, in mixed precision.
_base_ = 'vit-b16_custom.py'

model = dict(train_only=['LayerNorm', 'head.classifier'])
# bfloat16; for a GPU older than NVIDIA's Ampere
# dict(type='AmpOptimWrapper', loss_scale='dynamic')
optim_wrapper = dict(type='AutocastOptimWrapper')
