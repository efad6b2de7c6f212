# CLIP ViT-L/14 on images of 336 pixels, with MUST's parts.
_base_ = 'must_vit-l14.py'

model = dict(backbone=dict(img_size=336))
