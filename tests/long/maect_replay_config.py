# Replays steps of the head recorded from the published system (CPU, float32).
#
# Command: python -m tests.long.replay tests/data/maect_head_init.npz
# The tool fills in the file and its sizes; what stands here is what every
# recording shares.
_base_ = [
    '../../configs/_base_/maect_head.py',
    '../../configs/_base_/maect_runtime.py',
]

model = dict(
    backbone=dict(type='RecordedEncoder'),
    # the recorded features are no images
    data_preprocessor=dict(_delete_=True, type='TwoViewDataPreprocessor'),
)
train_dataloader = dict(
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='RecordedFeatures'),
)
optim_wrapper = dict(
    constructor='HeadAndLayerDecayConstructor',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(head_lr=0.002, head_weight_decay=0.0),
)
train_cfg = dict(by_epoch=True, max_epochs=1)
default_hooks = dict(checkpoint=None)
visualizer = dict(vis_backends=[])
