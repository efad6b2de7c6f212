# UCF101, the middle frame of every video. The official lists 01: 9,537
# frames to train, 3,783 to score (the folder 'val'), made by
# tools/extract_middle_frames.py.
_base_ = 'must_views.py'

_data = dict(type='UCF101Frames', data_root='data/ucf101')
train_dataloader = dict(
    dataset=dict(**_data, split='train', pipeline=_base_.train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**_data, split='val', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
