# MAE-CT, stage 2 of 3: head initialisation on a frozen ViT-L/16,
# BYOL-style views.
#
# Paper: https://arxiv.org/abs/2304.10520
# Published (paper, ImageNet-1k, linear / k-NN in %): MAE 75.9 / 60.6,
# MAE-CT 81.5 / 79.1 after stage 3. Not reproduced here.
# Command: tools/dist_train.sh configs/mae_ct/vit-l16_byol_stage2.py 8
_base_ = [
    '../_base_/maect_vit-l16.py',
    '../_base_/maect_imagenet_byol.py',
    '../_base_/maect_schedule.py',
    '../_base_/maect_runtime.py',
]
