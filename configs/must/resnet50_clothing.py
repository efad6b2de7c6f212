# MUST on photographs of clothes, from a supervised ResNet-50 of MMPretrain
# whose ImageNet head is merged to ten classes.
#
# Paper: https://arxiv.org/abs/2206.02967
# Start: resnet50_8xb32_in1k of MMPretrain's model zoo, the file that its
#        page links, at model.start.checkpoint
# Measured: nothing yet
# Command: python tools/train.py configs/must/resnet50_clothing.py
_base_ = ['../_base_/must_linear.py', '../_base_/clothing_160.py']

model = dict(
    backbone=dict(type='ResNet', depth=50),
    head=dict(num_classes=10, in_channels=2048),
    decoder=dict(in_channels=2048),
    start=dict(
        type='ClassifierStart',
        checkpoint='checkpoints/resnet50_8xb32_in1k_20210831-ea4938fc.pth',
        classes={{_base_.classes}},
        class_map={{_base_.class_map}},
    ),
)
