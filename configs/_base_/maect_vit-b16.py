# ViT-B/16 as MAE-CT's encoder, features are the mean patch token. Frozen as in
# stage 2.
_base_ = ['maect_head.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='featmap',
        frozen_stages=12,
    ),
    neck=dict(type='GlobalAveragePooling'),
)
# MMPretrain's masked autoencoder, 1600 epochs
load_from = (
    'https://download.openmmlab.com/mmselfsup/1.x/mae/'
    'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k/'
    'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k_20220825-f7569ca2.pth'
)
