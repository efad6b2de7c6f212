# MUST on GTSRB, from OpenAI's CLIP ViT-B/32.
#
# Paper: https://arxiv.org/abs/2206.02967
# Not a recipe of the paper: the values for ViT-B/16, not tuned.
# Top-1: not measured
# Hardware: any; rates follow the total batch
# Command: tools/dist_train.sh configs/must/vit-b32_gtsrb.py 8 --amp
_base_ = ['vit-b16_gtsrb.py', '../_base_/must_patch32.py']

model = dict(**_base_.patches_of_32, start=dict(model='ViT-B-32'))
mask = dict(_base_.mask, model_patch_size=32)
train_pipeline = [*_base_.views, mask, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
