# MAE-CT, stage 2 of 3: head initialisation on a frozen ViT-H/16,
# minimal views (crop, flip).
#
# Paper: https://arxiv.org/abs/2304.10520
# Published (paper, ImageNet-1k, linear / k-NN in %): MAE 78.0 / 61.1,
# MAE-CT 81.5 / 79.4 after stage 3. Not reproduced here.
# Needs checkpoints/mae_vit-huge-p16.pth, a masked autoencoder to supply.
# Command: tools/dist_train.sh configs/mae_ct/vit-h16_stage2.py 8
_base_ = [
    '../_base_/maect_vit-h16.py',
    '../_base_/maect_imagenet.py',
    '../_base_/maect_schedule.py',
    '../_base_/maect_runtime.py',
]

published_batch = 512
optim_wrapper = dict(
    optimizer=dict(lr=1e-4 * 2 * published_batch / 256),
    paramwise_cfg=dict(head_lr=1e-4 * 2 * published_batch / 256),
)
train_dataloader = dict(batch_size=64)  # of 8 processes
