# CLIP ViT-g/14 as student and teacher, with MUST's parts. GELU, as in LAION's
# weights.
_base_ = 'must_vit-h14.py'

model = dict(
    backbone=dict(arch='eva-g'),
    neck=dict(in_channels=1408),
    decoder=dict(in_channels=1408),
)
