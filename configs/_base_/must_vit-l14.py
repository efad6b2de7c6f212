# CLIP ViT-L/14 as student and teacher, with MUST's parts.
_base_ = 'must_vit-b16.py'

model = dict(
    backbone=dict(arch='large', patch_size=14),
    neck=dict(in_channels=1024, out_channels=768),
    head=dict(in_channels=768),
    decoder=dict(in_channels=1024, encoder_stride=14),
    mim_head=dict(patch_size=14),
)
