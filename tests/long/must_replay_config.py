# Replays steps recorded from the published system (CPU, float32).
#
# Command: python -m tests.long.replay tests/data/must_basic.npz
# The tool fills in the file, its sizes and its rates; what stands here is
# what every recording shares.
_base_ = [
    '../../configs/_base_/must_vit-b16.py',
    '../../configs/_base_/must_schedule.py',
    '../../configs/_base_/must_runtime.py',
]

model = dict(
    # the recorded views are normalised already
    data_preprocessor=dict(
        _delete_=True, type='TwoViewDataPreprocessor', to_rgb=False
    )
)
train_dataloader = dict(
    num_workers=0,
    drop_last=True,
    sampler=dict(type='EpochSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='RecordedViews'),
)
val_cfg = test_cfg = None
default_hooks = dict(checkpoint=None)
visualizer = dict(vis_backends=[])
