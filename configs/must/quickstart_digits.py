# MUST on scikit-learn's handwritten digits, from a tiny CLIP trained on
# rendered digits. 32-pixel images, 16 tokens, two CPU cores.
#
# Paper: https://arxiv.org/abs/2206.02967
# Measured: docs/accuracy.md
# Commands: bash tools/quickstart.sh (everything, from an empty machine)
#           python tools/train.py configs/must/quickstart_digits.py (this
#           run again, with what the first command has put there)
_base_ = [
    '../_base_/must_vit-b16.py',
    '../_base_/must_schedule.py',
    '../_base_/must_runtime.py',
]
root = 'work_dirs/quickstart'
image_size, patch_size = 32, 8
width, embed_dims = 128, 64
batch_size, lr_per_256, epochs = 64, 2e-3, 30
classes = [
    'zero',
    'one',
    'two',
    'three',
    'four',
    'five',
    'six',
    'seven',
    'eight',
    'nine',
]

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=width,
            num_layers=4,
            num_heads=2,
            feedforward_channels=4 * width,
        ),
        img_size=image_size,
        patch_size=patch_size,
    ),
    neck=dict(in_channels=width, out_channels=embed_dims),
    head=dict(num_classes=10, in_channels=embed_dims, threshold=0.7),
    decoder=dict(in_channels=width, encoder_stride=patch_size),
    mim_head=dict(patch_size=patch_size),
    align_loss=dict(loss_weight=0.05),
    start=dict(
        type='OpenCLIPStart',
        model=f'{root}/start/tiny_clip.json',
        pretrained=f'{root}/start/tiny_clip.pt',
        classes=classes,
        templates=[
            'a photo of the number {}.',
            'the digit {}.',
            'a drawing of the number {}.',
            'a blurry photo of the digit {}.',
            'a picture of a handwritten {}.',
            'a small {}.',
        ],
    ),
)

# MMPretrain's views; those of must_views.py are for larger images, faster.
_resize = dict(
    type='ResizeEdge',
    scale=image_size,
    backend='pillow',
    interpolation='bicubic',
)
weak_view = [_resize, dict(type='RandomCrop', crop_size=image_size)]
# No flip: a mirrored digit is another sign or none.
strong_view = [
    dict(
        type='RandomResizedCrop',
        scale=image_size,
        crop_ratio_range=(0.6, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='PublishedRandAugment', policies='timm_increasing'),
]
load, seed = dict(type='LoadImage'), dict(type='SeedSample')
views = [
    load,
    seed,
    dict(
        type='MultiView', num_views=[1, 1], transforms=[weak_view, strong_view]
    ),
]
mask = dict(
    type='MUSTMaskGenerator',
    input_size=image_size,
    mask_patch_size=patch_size,
    model_patch_size=patch_size,
    mask_ratio=0.1,
)
pack = dict(type='PackInputs')
train_pipeline = [*views, mask, pack]
test_pipeline = [
    load,
    _resize,
    dict(type='CenterCrop', crop_size=image_size),
    pack,
]
digits = dict(
    type='CustomDataset',
    data_root=f'{root}/digits',
    metainfo=dict(classes=classes),
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        **digits,
        # These labels are for the log (pseudo_label_acc) alone; with
        # ann_file='' and with_label=False the weights come out the same.
        ann_file='train_labels.txt',
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        **digits,
        ann_file='test_labels.txt',
        data_prefix='test',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=1)

# Four layers that must learn another look: little layer decay.
optim_wrapper = dict(
    optimizer=dict(lr=lr_per_256 * batch_size / 256),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
param_scheduler = dict(T_max=epochs, eta_min_ratio=1e-6 / lr_per_256)
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(logger=dict(interval=9))
teacher = dict(
    _base_.teacher, decay_start=0.9, decay_end=0.99, warmup_steps=100
)
guards = [
    dict(type='ValidateStartHook'),
    dict(type='ClassCheckHook'),
    dict(type='FairnessRestartHook'),
    dict(type='HealthHook', interval=10),
    # a run that collapses is shown to its end
    dict(type='CollapseHook', stop=False),
    dict(type='StartPassHook'),
]
custom_hooks = [teacher, *guards]
