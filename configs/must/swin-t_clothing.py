# MUST on photographs of clothes, from a supervised Swin-T of MMPretrain whose
# ImageNet head is merged to ten classes. Masks its 4-pixel tokens, in blocks
# of 32 pixels: one location of the last feature map.
#
# Paper: https://arxiv.org/abs/2206.02967
# Start: swin-tiny_16xb64_in1k of MMPretrain's model zoo, the file that its
#        page links, at model.start.checkpoint
# Measured: nothing yet
# Command: python tools/train.py configs/must/swin-t_clothing.py
_base_ = ['../_base_/must_linear.py', '../_base_/clothing_160.py']

model = dict(
    backbone=dict(
        type='SwinTransformer',
        arch='tiny',
        img_size=160,
        drop_path_rate=0.2,
        # the last map is smaller than a window
        pad_small_map=True,
    ),
    head=dict(num_classes=10, in_channels=768),
    decoder=dict(in_channels=768),
    start=dict(
        type='ClassifierStart',
        checkpoint='checkpoints/swin_tiny_224_b16x64_300e_imagenet_'
        '20210616_090925-66df6be6.pth',
        classes={{_base_.classes}},
        class_map={{_base_.class_map}},
    ),
)
