# MUST on Oxford-IIIT Pets, from OpenAI's CLIP ViT-B/16.
#
# Paper: https://arxiv.org/abs/2206.02967
# Mean per-class accuracy: not measured here
# Hardware (paper): 16 GPUs x 64 images
# Command: tools/dist_train.sh configs/must/vit-b16_pets.py 8 --amp
_base_ = [
    '../_base_/must_vit-b16.py',
    '../_base_/must_pets.py',
    '../_base_/must_schedule.py',
    '../_base_/must_runtime.py',
]
# Rates, decays and ramp are stated for this total batch and follow another.
published_batch = 1024
lr_per_256, epochs = 1e-5, 60

model = dict(
    head=dict(num_classes=37, threshold=0.7, fairness=dict(loss_weight=1.0)),
    align_loss=dict(loss_weight=0.2),
    start=dict(
        type='OpenCLIPStart',
        model='ViT-B-16',
        pretrained='openai',
        classes='must_mm::pets',
        templates='must_mm::pets',
    ),
)
mask = dict(_base_.mask, mask_patch_size=32, mask_ratio=0.1)
train_pipeline = [*_base_.views, mask, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=lr_per_256 * published_batch / 256))
param_scheduler = dict(T_max=epochs, eta_min_ratio=1e-6 / lr_per_256)
train_cfg = dict(max_epochs=epochs)
teacher = dict(_base_.teacher, decay_start=0.99, warmup_steps=100)
custom_hooks = [teacher, *_base_.guards]
