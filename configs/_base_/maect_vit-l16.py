# ViT-L/16 as MAE-CT's encoder, features are the class token. Frozen as in
# stage 2.
_base_ = ['maect_head.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='large',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
        frozen_stages=24,
    ),
    head=dict(projector=dict(in_channels=1024)),
)
# MMPretrain's masked autoencoder, 1600 epochs
load_from = (
    'https://download.openmmlab.com/mmselfsup/1.x/mae/'
    'mae_vit-large-p16_8xb512-fp16-coslr-1600e_in1k/'
    'mae_vit-large-p16_8xb512-fp16-coslr-1600e_in1k_20220825-cc7e98c9.pth'
)
