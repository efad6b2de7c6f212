# MAE-CT, stage 3 of 3: contrastive tuning of the upper half of ViT-L/16,
# BYOL-style views.
#
# Paper: https://arxiv.org/abs/2304.10520
# Published (paper, ImageNet-1k, linear / k-NN in %): MAE 75.9 / 60.6,
# MAE-CT 81.5 / 79.1 after stage 3. Not reproduced here.
# Starts from the checkpoint of vit-l16_byol_stage2.py.
# Command: tools/dist_train.sh configs/mae_ct/vit-l16_byol_stage3.py 8
_base_ = [
    '../_base_/maect_vit-l16.py',
    '../_base_/maect_imagenet_byol.py',
    '../_base_/maect_schedule.py',
    '../_base_/maect_runtime.py',
]

model = dict(
    backbone=dict(frozen_stages=12),
    head=dict(
        queue=dict(topk=10),
        temperature=0.15,
        target_decay=0.99,
    ),
    encoder_decay=0.9999,
)
optim_wrapper = dict(
    paramwise_cfg=dict(head_lr=5e-4 * 2 * _base_.published_batch / 256)
)
train_cfg = dict(max_epochs=40)
param_scheduler = dict(end=40)
load_from = 'work_dirs/vit-l16_byol_stage2/epoch_20.pth'
