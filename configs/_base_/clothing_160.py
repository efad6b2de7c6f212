# Photographs of clothes in ten classes (CC0), train without labels, evaluate
# on validation and test: https://github.com/alexeygrigorev/clothing-dataset
# sorted into {train,validation,test}/<class>/*.jpg below data_root.
data_root = 'data/clothing'
classes = [
    'dress',
    'hat',
    'longsleeve',
    'outwear',
    'pants',
    'shirt',
    'shoes',
    'shorts',
    'skirt',
    't-shirt',
]
# Rows of an ImageNet-1k head for each class.
class_map = {
    'dress': [399, 578, 601, 689],
    'hat': [515, 793, 808, 439],
    'longsleeve': [474, 841],
    'outwear': [568, 735, 869],
    'pants': [608, 697],
    'shirt': [617, 834, 906],
    'shoes': [502, 514, 630, 774, 770],
    'shorts': [842],
    'skirt': [655, 775],
    't-shirt': [610],
}

bicubic = dict(backend='pillow', interpolation='bicubic')
weak_view = [
    dict(type='ResizeEdge', scale=184, **bicubic),
    dict(type='RandomCrop', crop_size=160),
]
strong_view = [
    dict(
        type='RandomResizedCrop',
        scale=160,
        crop_ratio_range=(0.3, 1.0),
        **bicubic,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PublishedRandAugment', policies='timm_increasing'),
]
load, seed = dict(type='LoadImage'), dict(type='SeedSample')
views = [
    load,
    seed,
    dict(
        type='MultiView', num_views=[1, 1], transforms=[weak_view, strong_view]
    ),
]
mask = dict(
    type='MUSTMaskGenerator',
    input_size=160,
    mask_patch_size=32,
    model_patch_size=32,
    mask_ratio=0.1,
)
pack = dict(type='PackInputs')
train_pipeline = [*views, mask, pack]
test_pipeline = [
    load,
    dict(type='ResizeEdge', scale=184, **bicubic),
    dict(type='CenterCrop', crop_size=160),
    pack,
]
photos = dict(
    type='CustomDataset',
    data_root=data_root,
    metainfo=dict(classes=classes),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    # the folders are its labels: they are not read
    dataset=dict(
        **photos,
        data_prefix='train',
        with_label=False,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(**photos, data_prefix=part, pipeline=test_pipeline)
            for part in ('validation', 'test')
        ],
    ),
)
test_dataloader = val_dataloader
# overall, and averaged over classes
val_evaluator = test_evaluator = [
    dict(type='Accuracy', topk=1),
    dict(type='SingleLabelMetric', items=('recall',)),
]
