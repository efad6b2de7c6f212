# Stage 3 of the MAE-CT quickstart: contrastive tuning of the upper half.
#
# Paper: https://arxiv.org/abs/2304.10520
# Commands: bash tools/maect_quickstart.sh (everything, from an empty machine)
#           python tools/train.py configs/mae_ct/quickstart_digits_stage3.py
_base_ = ['quickstart_digits_stage2.py']
epochs = 40

model = dict(
    backbone=dict(frozen_stages=2),
    head=dict(queue=dict(topk=5), temperature=0.15, target_decay=0.99),
    # the published 0.9999 averages over more updates than there are here
    encoder_decay=0.99,
)
param_scheduler = dict(end=epochs)
train_cfg = dict(max_epochs=epochs)
load_from = 'work_dirs/maect_quickstart/stage2/epoch_10.pth'
