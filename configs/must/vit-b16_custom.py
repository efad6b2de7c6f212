# Balanced labels on your own images: a folder and a list of class names.
#
# Paper: https://arxiv.org/abs/2206.02967; what differs: docs/accuracy.md
# Not a recipe of the paper: the values of its Pets recipe, without masks,
# with labels that are balanced half the way, a warm-up and a steady teacher;
# not tuned.
# Top-1: not measured
# Hardware: any; rates follow the total batch
# Command: tools/dist_train.sh configs/must/vit-b16_custom.py 8 --amp
#
# Put the images below data/custom/train, in folders or not, and edit
# `classes` and `templates`. Nothing else is needed: there is no validation.
# Images that cannot be read are skipped and named, up to max_bad_images.
# For tools/test.py, put labelled images below data/custom/test, and lines
# like "cat/1.jpg 0" into data/custom/test.txt, numbered as in `classes`.
# Where the classes are not equally frequent, state their shares as `prior`.
_base_ = [
    '../_base_/must_vit-b16.py',
    '../_base_/must_views.py',
    '../_base_/must_schedule.py',
    '../_base_/must_runtime.py',
]
# Rates, decays and ramp are stated for this total batch and follow another.
published_batch = 1024
lr_per_256, epochs = 1e-5, 60

root = 'data/custom'
classes = ['cat', 'dog']
templates = ['a photo of a {}.', 'a photo of the {}.']
prior = None

model = dict(
    masked_view='off',
    head=dict(
        num_classes=len(classes), threshold=0.7, fairness=dict(prior=prior)
    ),
    pseudo_labels=dict(
        alignment=dict(type='BalancedLabels', prior=prior, strength='auto')
    ),
    start=dict(
        type='OpenCLIPStart',
        model='ViT-B-16',
        pretrained='openai',
        classes=classes,
        templates=templates,
    ),
)
train_pipeline = [*_base_.views, _base_.pack]
_data = dict(data_root=root, metainfo=dict(classes=classes))
train_dataloader = dict(
    dataset=dict(
        type='SkipBadImages',
        max_bad_images=100,
        dataset='CustomDataset',
        **_data,
        data_prefix='train',
        with_label=False,
        pipeline=train_pipeline,
    )
)
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = dict(
    dataset=dict(
        type='CustomDataset',
        **_data,
        data_prefix='test',
        ann_file='test.txt',
        pipeline=_base_.test_pipeline,
    )
)
optim_wrapper = dict(optimizer=dict(lr=lr_per_256 * published_batch / 256))
param_scheduler = dict(
    _delete_=True,
    type='WarmupCosineLR',
    warmup_ratio=0.2,
    end=epochs,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=epochs)
# It averages over 100 steps of 1024 images: a sixth of the run is good.
teacher = dict(
    _base_.teacher, decay_start=0.99, decay_end=0.99, warmup_steps=0
)
custom_hooks = [teacher, *_base_.guards]
