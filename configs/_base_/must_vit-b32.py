# CLIP ViT-B/32 as student and teacher, with MUST's parts. QuickGELU, as in
# OpenAI's weights; those of LAION and DataComp want act_cfg=dict(type='GELU').
_base_ = 'must_vit-b16.py'

model = dict(
    backbone=dict(patch_size=32),
    decoder=dict(encoder_stride=32),
    mim_head=dict(patch_size=32),
)
