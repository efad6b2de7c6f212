# MAE-CT's head on ViT-B/16 features: projector, predictor, queue (Sec. 3).
# sync_bn turns the batch norms into synchronised ones where processes train
# together.
sync_bn = 'torch'

model = dict(
    type='MAECT',
    head=dict(
        type='NNCLRHead',
        projector=dict(
            type='NonLinearNeck',
            in_channels=768,
            hid_channels=2048,
            out_channels=256,
            num_layers=3,
            with_avg_pool=False,
            norm_cfg=dict(type='BN1d'),
        ),
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_last_bn=False,
            with_avg_pool=False,
            norm_cfg=dict(type='BN1d'),
        ),
        queue=dict(type='NNQueue', size=65536, dim=256, topk=1),
        temperature=0.15,
        target_decay=None,
    ),
    data_preprocessor=dict(
        type='TwoViewDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)
