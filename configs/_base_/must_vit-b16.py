# CLIP ViT-B/16 as student and teacher, with MUST's parts.
model = dict(
    type='MUST',
    backbone=dict(
        type='LeanVisionTransformer',
        arch='base',
        img_size=224,
        patch_size=16,
        pre_norm=True,
        final_norm=False,
        out_type='raw',
        norm_cfg=dict(type='LN', eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
    ),
    neck=dict(type='CLIPProjection', in_channels=768, out_channels=512),
    head=dict(
        type='PseudoLabelHead',
        num_classes=1000,
        in_channels=512,
        threshold=0.7,
        fairness=dict(type='FairnessLoss', loss_weight=1.0),
    ),
    decoder=dict(
        type='SimMIMLinearDecoder', in_channels=768, encoder_stride=16
    ),
    mim_head=dict(
        type='SimMIMHead',
        patch_size=16,
        loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3),
    ),
    align_loss=dict(type='GlobalLocalAlignmentLoss', loss_weight=0.2),
    predict_with='student',
    data_preprocessor=dict(
        type='TwoViewDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        to_rgb=True,
    ),
)
