# SigLIP ViT-B/16 as student and teacher, with MUST's parts. Its images are
# resized to squares without cropping and normalised to [-1, 1]:
# dict(type='Resize', scale=(224, 224), backend='pillow',
# interpolation='bicubic') in the place of ResizeEdge and crop.
_base_ = 'must_vit-b16.py'

model = dict(
    backbone=dict(
        _delete_=True, type='OpenCLIPBackbone', model='ViT-B-16-SigLIP'
    ),
    neck=dict(_delete_=True, type='UnitFeature'),
    head=dict(in_channels=768),
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
)
