# MUST on photographs of clothes, from a supervised EfficientNet-Lite0 whose
# ImageNet head is merged to ten classes. 160 pixels, two CPU cores.
#
# Paper: https://arxiv.org/abs/2206.02967
# Measured: docs/backbones.md
# Commands: python tools/benchmark.py photos FOLDER (start file, all runs,
#           table)
#           python tools/train.py configs/must/efficientnet-lite0_clothing.py
#           (one run, with the start file that the first command has put
#           there and the photos in data/clothing)
_base_ = ['../_base_/must_linear.py', '../_base_/clothing_160.py']

model = dict(
    backbone=dict(type='TIMMBackbone', model_name='tf_efficientnet_lite0'),
    head=dict(num_classes=10, in_channels=1280),
    decoder=dict(in_channels=1280),
    # as this network was trained, unlike most of timm
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]
    ),
    start=dict(
        type='ClassifierStart',
        checkpoint='work_dirs/photos/efficientnet_lite0.pth',
        classes={{_base_.classes}},
        class_map={{_base_.class_map}},
    ),
)
