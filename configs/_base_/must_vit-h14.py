# CLIP ViT-H/14 as student and teacher, with MUST's parts. GELU, as in LAION's
# weights; those of DFN and MetaCLIP want
# act_cfg=dict(type='mmpretrain.QuickGELU').
_base_ = 'must_vit-l14.py'

model = dict(
    backbone=dict(arch='huge', layer_cfgs=dict(act_cfg=dict(type='GELU'))),
    neck=dict(in_channels=1280, out_channels=1024),
    head=dict(in_channels=1024),
    decoder=dict(in_channels=1280),
)
