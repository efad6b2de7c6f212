# ViT-H/16 as MAE-CT's encoder, features are the class token. Frozen as in
# stage 2.
_base_ = ['maect_head.py']

model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='huge',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
        frozen_stages=32,
    ),
    head=dict(projector=dict(in_channels=1280)),
)
# MMPretrain has no masked autoencoder of this size: put yours here, with the
# encoder's weights named as in MMPretrain's VisionTransformer ("backbone.").
load_from = 'checkpoints/mae_vit-huge-p16.pth'
