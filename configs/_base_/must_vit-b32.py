# CLIP ViT-B/32 as student and teacher, with MUST's parts. QuickGELU, as in
# OpenAI's weights; those of LAION and DataComp want act_cfg=dict(type='GELU').
_base_ = ['must_vit-b16.py', 'must_patch32.py']

model = _base_.patches_of_32
