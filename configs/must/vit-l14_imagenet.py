# MUST on ImageNet, from OpenAI's CLIP ViT-L/14.
#
# Paper: https://arxiv.org/abs/2206.02967
# Top-1 (paper): CLIP 75.5, MUST 82.1
# Hardware (paper): 16 GPUs x 64 images
# Command: tools/dist_train.sh configs/must/vit-l14_imagenet.py 8 --amp
_base_ = [
    '../_base_/must_vit-l14.py',
    '../_base_/must_imagenet.py',
    '../_base_/must_schedule.py',
    '../_base_/must_runtime.py',
]
# Rates, decays and ramp are stated for this total batch and follow another.
published_batch = 1024
lr_per_256, epochs = 4e-5, 20

model = dict(
    head=dict(num_classes=1000, threshold=0.5, fairness=dict(loss_weight=1.0)),
    align_loss=dict(loss_weight=0.5),
    start=dict(
        type='OpenCLIPStart',
        model='ViT-L-14',
        pretrained='openai',
        classes='must_mm::imagenet',
        templates='must_mm::imagenet',
        allow_duplicates=True,  # missile, sunglasses
    ),
)
mask = dict(
    _base_.mask, model_patch_size=14, mask_patch_size=56, mask_ratio=0.3
)
train_pipeline = [*_base_.views, mask, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=lr_per_256 * published_batch / 256))
param_scheduler = dict(T_max=epochs, eta_min_ratio=1e-6 / lr_per_256)
train_cfg = dict(max_epochs=epochs)
teacher = dict(_base_.teacher, decay_start=0.999, warmup_steps=2000)
custom_hooks = [teacher, *_base_.guards]
