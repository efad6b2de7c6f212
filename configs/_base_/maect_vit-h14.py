# ViT-H/14 as MAE-CT's encoder, features are the class token. Frozen as in
# stage 2.
_base_ = ['maect_head.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='huge',
        img_size=224,
        patch_size=14,
        out_type='cls_token',
        frozen_stages=32,
    ),
    head=dict(projector=dict(in_channels=1280)),
)
# MMPretrain's masked autoencoder, 1600 epochs (H/14 despite the name)
load_from = (
    'https://download.openmmlab.com/mmselfsup/1.x/mae/'
    'mae_vit-huge-p16_8xb512-fp16-coslr-1600e_in1k/'
    'mae_vit-huge-p16_8xb512-fp16-coslr-1600e_in1k_20220916-ff848775.pth'
)
