# MAE-CT, stage 2 of 3: head initialisation on a frozen ViT-H/14,
# minimal views (crop, flip).
#
# Paper: https://arxiv.org/abs/2304.10520
# Published (paper, ImageNet-1k, linear / k-NN in %): MAE 77.2 / 58.9,
# MAE-CT 81.3 / 79.1 after stage 3. Not reproduced here.
# Command: tools/dist_train.sh configs/mae_ct/vit-h14_stage2.py 8
_base_ = [
    '../_base_/maect_vit-h14.py',
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
