# MUST on your own images with one GPU: LayerNorms and classifier alone.
#
# Paper: https://arxiv.org/abs/2206.02967
# Not a recipe of the paper, not tuned. Top-1: not measured
# Hardware: one GPU
# Command: python tools/train.py configs/must/vit-b16_custom_single-gpu.py
#
# Of CLIP's parameters only these train, in mixed precision. The mask token
# and the decoder start from noise and are not part of the classifier; they
# train too, or the reconstruction would be noise.
_base_ = 'vit-b16_custom.py'

model = dict(train_only=['LayerNorm', 'head.classifier', 'masking', 'decoder'])
# bfloat16; for a GPU older than NVIDIA's Ampere
# dict(type='AmpOptimWrapper', loss_scale='dynamic')
optim_wrapper = dict(type='AutocastOptimWrapper')
