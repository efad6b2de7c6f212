# Balanced labels on your own images with SigLIP, a tower that pools by
# attention and runs as open_clip's own module.
#
# Paper: https://arxiv.org/abs/2206.02967
# Not a recipe of the paper, not tuned: the values of vit-b16_custom.py.
# Top-1: not measured
# Hardware: any; rates follow the total batch
# Command: tools/dist_train.sh configs/must/siglip-b16_custom.py 8 --amp
#
# Images, classes and templates: as in vit-b16_custom.py. The first run turns
# the text classifier's names into tokens with the package transformers.
_base_ = 'vit-b16_custom.py'

model = dict(
    backbone=dict(
        _delete_=True, type='OpenCLIPBackbone', model='ViT-B-16-SigLIP'
    ),
    neck=dict(_delete_=True, type='UnitFeature'),
    head=dict(in_channels=768),
    # SigLIP's images lie in [-1, 1]
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    start=dict(model='ViT-B-16-SigLIP', pretrained='webli'),
)
# and are squeezed to squares instead of cropped.
_square = dict(
    type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'
)
views = [
    _base_.load,
    _base_.seed,
    dict(type='CropViews', transforms=[[_square], _base_.strong_view]),
]
train_pipeline = [*views, _base_.pack]
test_pipeline = [dict(type='LoadImage'), _square, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
